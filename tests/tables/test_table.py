"""Tables of runs: what is joined, what is refused, and the three forms."""

from __future__ import annotations

import csv
import re

import pytest
from made_runs import PROTOCOL, evaluated, pretrained, probe_file, probed

from bodvcl.cli.table import main
from bodvcl.runs.data_names import data_and_fold
from bodvcl.tables.formats import latex_text


def table(capsys, *words: object) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def refused(capsys, *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_seeds_are_joined_and_splits_averaged(tmp_path, capsys):
    """By hand: seed 0 has 0.90 on average, seed 1 has 0.94; mean 92.0, standard deviation 0.04 / sqrt 2."""
    scores = {(0, 1): 0.88, (0, 2): 0.92, (1, 1): 0.93, (1, 2): 0.95}
    for (seed, fold), top1 in scores.items():
        run = pretrained(tmp_path / f"pre{seed}", seed)
        evaluated(tmp_path / "tuned" / f"{seed}-{fold}", run, top1, data=f"ucf101@{fold}:/u")
    text = table(capsys, tmp_path / "tuned")
    assert "| V-SimCLR + BOD-VCL | slow_r50 | 92.0 ± 2.8 (2) |" in text
    assert "| method | backbone | ucf101 finetune: top1 |" in text
    assert "mean of 2 splits (1, 2)" in text
    assert "Seeds of the pre-training: 0, 1." in text
    assert "Commits: abc1234." in text
    assert "top5" not in text


def test_other_options_of_the_pre_training_are_other_rows(tmp_path, capsys):
    """The seed, the folder of the data and the run folder make no row; xi does, and is named."""
    for number, options in enumerate(({}, {"data": "kinetics400:/elsewhere"}, {"koopman": {"xi": 0.4}})):
        run = pretrained(tmp_path / f"pre{number}", seed=number, **options)
        evaluated(tmp_path / f"tuned{number}", run, 0.8 + 0.1 * (number == 2))
    evaluated(tmp_path / "tuned3", pretrained(tmp_path / "pre3", decouple="none"), 0.7)
    evaluated(tmp_path / "tuned4", None, 0.6, backbone="slow_r50")
    text = table(capsys, *(tmp_path / f"tuned{n}" for n in range(5)))
    assert "| V-SimCLR + BOD-VCL (koopman.xi 0.1) | slow_r50 | 80.0 ± 0.0 (2) |" in text
    assert "| V-SimCLR + BOD-VCL (koopman.xi 0.4) | slow_r50 | 90.0 |" in text
    assert "| V-SimCLR | slow_r50 | 70.0 |" in text
    assert "| from scratch | slow_r50 | 60.0 |" in text


def test_checkpoints_that_are_gone_are_not_taken_for_seeds(tmp_path, capsys):
    for number, top1 in enumerate((0.8, 0.9)):
        changes = {"method": "V-MoCo", "backbone": "slow_r50"}
        evaluated(tmp_path / f"tuned{number}", tmp_path / f"gone{number}", top1, **changes)
    text = table(capsys, tmp_path)
    assert f"| V-MoCo (checkpoint {tmp_path / 'gone0'}) | slow_r50 | 80.0 |" in text
    assert f"| V-MoCo (checkpoint {tmp_path / 'gone1'}) | slow_r50 | 90.0 |" in text


def test_both_kinds_of_probes_are_read(tmp_path, capsys):
    run = probed(tmp_path / "run", 0.5)
    assert "| V-SimCLR + BOD-VCL | slow_r50 | 50.0 |" in table(capsys, run)
    file = probe_file(tmp_path / "scores.json", run, 0.75)
    text = table(capsys, file)
    assert "kinetics400 probe: digit, Z_A, ridge top1" in text
    assert "kinetics400 probe: digit, Z_A, R@1" in text
    assert "| V-SimCLR + BOD-VCL | slow_r50 | 75.0 | 75.0 | 75.0 |" in text
    assert "3 clips" not in text
    assert "clips 3, control none, frames 8" in text
    error = refused(capsys, run, file)
    assert "probe on kinetics400 was not measured in the same way: clips is 1" in error
    assert "and 3 in" in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": {**PROTOCOL, "epochs": 200}}, "epochs is 16 in"),
        ({"protocol": {**PROTOCOL, "test": "3 clips x 1 crop"}}, "test is '10 clips x 3 crops' in"),
        ({"protocol": {"tune": "all", "test": "10 clips x 3 crops"}}, "epochs is 16 in"),
    ],
)
def test_other_protocols_are_refused_with_field_values_and_runs(tmp_path, capsys, changes, message):
    run = pretrained(tmp_path / "pre")
    first, second = evaluated(tmp_path / "a", run, 0.8), evaluated(tmp_path / "b", run, 0.9, **changes)
    error = refused(capsys, first, second)
    assert f"finetune on ucf101 was not measured in the same way: {message}" in error
    assert str(first) in error
    assert str(second) in error
    table(capsys, second)


def test_data_sets_of_other_sizes_are_refused_but_splits_are_not(tmp_path, capsys):
    run = pretrained(tmp_path / "pre")
    data = {"data": "ssv2:/s"}
    first, second = (
        evaluated(tmp_path / "a", run, 0.8, **data),
        evaluated(tmp_path / "b", run, 0.9, test=2, **data),
    )
    assert "test videos is 3 in" in refused(capsys, first, second)
    first, second = (
        evaluated(tmp_path / "a", run, 0.8),
        evaluated(tmp_path / "b", run, 0.9, test=2, data="ucf101@2:/u"),
    )
    assert "| 85.0 |" in table(capsys, first, second)


def test_the_same_measurement_twice_and_splits_that_do_not_fit_are_refused(tmp_path, capsys):
    run = pretrained(tmp_path / "pre")
    first = evaluated(tmp_path / "a", run, 0.8)
    assert "| 80.0 |" in table(capsys, first, first, tmp_path / "." / "a")
    second = evaluated(tmp_path / "b", run, 0.9)
    assert "hold the same measurement (top1, ucf101@1, seed 0): give one of them" in refused(
        capsys, first, second
    )
    other = evaluated(tmp_path / "c", pretrained(tmp_path / "pre1", seed=1), 0.9, data="ucf101@2:/u")
    assert "has the folds 2 of ucf101, and" in refused(capsys, first, other)


def test_a_run_over_all_splits_counts_by_its_splits(tmp_path, capsys):
    run = pretrained(tmp_path / "pre")
    whole = {"top1": 0.85, "top1_split1": 0.8, "top1_split2": 0.9}
    evaluated(tmp_path / "all", run, 0, data="ucf101@all:/u", metrics=whole)
    for fold, top1 in ((1, 0.8), (2, 0.9)):
        evaluated(tmp_path / "all" / f"split-{fold}", run, top1, data=f"ucf101@{fold}:/u")
    text = table(capsys, tmp_path / "all")
    assert "| 85.0 |" in text
    assert "mean of 2 splits (1, 2)" in text


def test_metrics_can_be_chosen(tmp_path, capsys):
    folder = evaluated(tmp_path / "a", pretrained(tmp_path / "pre"), 0.8)
    assert "| 80.0 | 99.0 |" in table(capsys, folder, "--metric", "top1", "top5")
    assert "--metric 'top2' (did you mean top5?): there are: top1; top5" in refused(
        capsys, folder, "--metric", "top2"
    )


def test_runs_that_have_not_finished_are_named(tmp_path, capsys):
    done = evaluated(tmp_path / "runs" / "a", pretrained(tmp_path / "pre"), 0.8)
    begun = pretrained(tmp_path / "runs" / "b")
    error = refused(capsys, tmp_path / "runs")
    assert f"1 of the runs not finished: {begun}; wait for them, or leave them out with" in error
    assert "| 80.0 |" in table(capsys, tmp_path / "runs", "--skip-unfinished")
    assert "| 80.0 |" in table(capsys, tmp_path / "runs" / "a*")
    assert "| 80.0 |" in table(capsys, done)
    assert "no run has finished" in refused(capsys, begun, "--skip-unfinished")


def test_what_is_no_run_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.json").write_text("{}")
    assert "holds no run: expected results.json or probe.json" in refused(capsys, tmp_path / "empty")
    assert "no such file or folder" in refused(capsys, tmp_path / "gone*")
    assert "notes.json cannot be read as scores" in refused(capsys, tmp_path / "notes.json")
    assert "RUN" in refused(capsys)
    folder = evaluated(tmp_path / "a", pretrained(tmp_path / "pre"), 0.8)
    assert "--out: cannot write" in refused(capsys, folder, "--out", tmp_path)


def test_csv_has_a_line_per_run_and_metric(tmp_path, capsys):
    for number in range(2):
        run = pretrained(tmp_path / f"pre{number}", seed=number)
        evaluated(tmp_path / f"tuned{number}", run, 0.8 + number / 10, data="ucf101@3:/u")
    places = [tmp_path / f"tuned{number}" for number in range(2)]
    rows = list(csv.DictReader(table(capsys, *places, "--format", "csv").splitlines()))
    assert [(r["run"], r["value"], r["pre-training seed"]) for r in rows] == [
        (str(places[0]), "0.8", "0"), (str(places[1]), "0.9", "1")
    ]  # fmt: skip
    assert {(r["data"], r["split"], r["kind"], r["metric"]) for r in rows} == {
        ("ucf101", "3", "finetune", "top1")
    }
    assert "epochs=16" in rows[0]["protocol"]


def test_latex_is_whole_and_escaped(tmp_path, capsys):
    file = tmp_path / "table.tex"
    folder = evaluated(tmp_path / "a", pretrained(tmp_path / "pre"), 0.8)
    words = (folder, "--format", "latex", "--out", file, "--title", "50 % of R&D_1 {x} #2 $3 ~^\\")
    assert "wrote" in table(capsys, *words)
    text = file.read_text()
    assert r"50 \% of R\&D\_1 \{x\} \#2 \$3 \textasciitilde{}\textasciicircum{}\textbackslash{}" in text
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    bare = re.sub(r"\\[{}]", "", text)
    depth = 0
    for char in bare:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns) - 1}
    assert not re.search(r"(?<!\\)[_#$]", re.sub(r"\$\\pm\$", "", body))
    assert r"slow\_r50" in body


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a_b & 5 %", r"a\_b \& 5 \%"), ("1 ± 2", r"1 $\pm$ 2"), ("a\nb|c", r"a b\textbar{}c")],
)
def test_text_in_latex(text, escaped):
    assert latex_text(text) == escaped


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("ucf101@2:/data/UCF 101", ("ucf101", "2")),
        ("ucf101@all:/u", ("ucf101", "all")),
        ("gym99:~/gym", ("gym99", "")),
        ("scenes", ("scenes", "")),
        ("/data/my/videos.csv", ("videos.csv", "")),
        ("https://host/a.tar", ("a.tar", "")),
    ],
)
def test_names_of_data_sets(spec, name):
    assert data_and_fold(spec) == name
