"""The comparison: what it plans, how it sums up, and one whole run of it."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import LONG

from bodvcl.cli import compare
from bodvcl.compare.plan import CompareOptions, plan
from bodvcl.compare.report import report, reported
from bodvcl.compare.summary import Cell, Ending, costs, skipped_labels, summarise
from bodvcl.compare.tables import markdown, plot, tables
from bodvcl.compare.variants import COMPARISON, DATA, GROUPS, SEARCH
from bodvcl.config.parse import parse_config
from bodvcl.errors import ConfigError, DataError
from bodvcl.sweep import prepare, processes
from bodvcl.text.tables import show


def options(tmp_path, **changes):
    return CompareOptions(
        **{"out": tmp_path, "data": ("shapes",), "methods": ("simclr",), "seeds": 2} | changes
    )


@pytest.mark.parametrize("group", GROUPS)
def test_every_variant_is_a_valid_training(tmp_path, group):
    tasks = list(plan(options(tmp_path, group=group, data=tuple(DATA), seeds=1)))
    assert len(tasks) == 2 * len(GROUPS[group])
    assert len({task.folder for task in tasks}) == len(tasks)
    configs = [parse_config(task.arguments) for task in tasks]
    assert {config.data for config in configs} == set(DATA)
    for task, config in zip(tasks, configs):
        correlation = (config.digits if config.data == "digits" else config.shapes).correlation
        assert (correlation == "none") == (task.cell.variant == "plain, uncorrelated")
    assert len({repr(config) for config in configs}) == len(configs), "two variants are the same"


def row(semantic, features, value, kind="static"):
    return {"semantic": semantic, "kind": kind, "features": features, "pretrained": value, "untrained": 0.5}


def test_differences_are_taken_seed_by_seed(tmp_path, capsys, monkeypatch):
    runs = {
        Cell("shapes", "simclr", "plain"): [[row("shape", "backbone", v)] for v in (0.5, 0.7)],
        Cell("shapes", "simclr", "+ BOD-VCL"): [[row("shape", "backbone", v)] for v in (0.6, 0.9)],
    }
    plain, bod = summarise(runs)
    assert (plain.mean, plain.gain) == (pytest.approx(60), None)
    assert plain.spread == pytest.approx(14.142135623730951)
    assert (bod.mean, bod.gain) == (pytest.approx(75), pytest.approx(15))
    assert bod.margin == pytest.approx(12.706204736432095 * 5)
    assert bod.features == "z"
    ends = [[Ending(10.0, None), Ending(20.0, None)], [Ending(11.0, 0.0), Ending(26.0, 0.25)]]
    cost = costs(dict(zip(runs, ends)))
    assert [(c.time, c.empty) for c in cost] == [(1, None), (pytest.approx(1.2), 0.25)]
    listings = tables([plain, bod], cost)
    text = markdown(listings)
    assert "| + BOD-VCL | 75.0 ± 21.2 (+15.0 ± 63.5) | 1.20x | 25.0% |" in text
    assert "| untrained | 50.0 | | |" in text
    assert "**shapes, simclr**: accuracy in %, mean" in text
    for width in (None, "80", "20"):
        monkeypatch.delenv("COLUMNS", raising=False) if width is None else monkeypatch.setenv(
            "COLUMNS", width
        )
        show(*listings)
        printed = capsys.readouterr().out
        for whole in ("+ BOD-VCL", "shape (static), z", "75.0 ± 21.2 (+15.0 ± 63.5)", "untrained"):
            assert whole in printed
    plot([plain, bod], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def skipped(semantic, features, reason="all videos have the same label"):
    return {"semantic": semantic, "kind": "static", "features": features, "classes": 1, "skipped": reason}


def test_a_label_that_a_probe_skipped_is_named_and_does_not_count():
    plain, bod = Cell("shapes", "simclr", "plain"), Cell("shapes", "simclr", "+ BOD-VCL")
    runs = {
        plain: [
            [row("shape", "backbone", 0.5), skipped("path", "backbone")],
            [row("shape", "backbone", 0.7)],
        ],
        bod: [[skipped("shape", "backbone", "too few")], [row("shape", "backbone", 0.9)]],
    }
    first, second = summarise(runs)
    assert (first.semantic, first.mean, first.seeds) == ("shape", pytest.approx(60), 2)
    assert (second.semantic, second.mean, second.seeds) == ("shape", pytest.approx(90), 1)
    assert second.gain == pytest.approx(20)  # over the plain method with the same seed
    assert skipped_labels(runs) == [
        "shapes, path: all videos have the same label", "shapes, shape: too few"
    ]  # fmt: skip


def test_a_comparison_without_any_label_says_so(tmp_path):
    chosen = options(tmp_path, seeds=1, variants=("plain",))
    tasks = list(plan(chosen))
    for task in tasks:
        finish(task)
        probe = task.folder / "run" / "probe.json"
        probe.write_text(json.dumps({"rows": [skipped("shape", "backbone", "two videos")]}))
    with pytest.raises(DataError, match=r"no label could be probed \(shapes, shape: two videos\)"):
        report(tasks, tmp_path, "comparison", None)


def test_what_matters_most_is_trained_first(tmp_path):
    chosen = options(tmp_path, data=("shapes", "digits"), variants=("+ BOD-VCL", "plain"))
    order = [(task.seed, task.cell.variant, task.cell.data) for task in plan(chosen)]
    assert order == [
        (seed, variant, data)
        for seed in (0, 1)
        for variant in ("+ BOD-VCL", "plain")
        for data in ("shapes", "digits")
    ]
    with pytest.raises(ConfigError, match=r"'BOD': comparison has 'plain', .*'\+ BOD-VCL'"):
        list(plan(options(tmp_path, variants=("plain", "BOD"))))


def test_options_after_the_dashes_override_decoding_in_the_process(tmp_path):
    (task, *_) = plan(options(tmp_path), ["--workers", "3"])
    assert parse_config(task.arguments).workers == 3


def finish(task, value=0.5):
    """Leaves what a finished training leaves."""
    (task.folder / "run").mkdir(parents=True)
    (task.folder / "arguments.json").write_text(json.dumps(task.arguments))
    rows = [row("shape", features, value) for features in ("backbone", "static", "dynamic")]
    (task.folder / "run" / "probe.json").write_text(json.dumps({"rows": rows}))
    (task.folder / "run" / "summary.json").write_text(json.dumps({"seconds": 10.0}))
    (task.folder / "run" / "metrics.jsonl").write_text(json.dumps({"step": 1}) + "\n")


def test_a_table_has_the_same_seeds_of_every_variant_and_names_what_it_leaves_out(tmp_path):
    chosen = options(tmp_path, data=("shapes", "digits"), variants=("plain", "+ BOD-VCL", "+ L_pred"))
    tasks = list(plan(chosen))
    done = {
        ("shapes", "plain", 0), ("shapes", "plain", 1), ("shapes", "+ BOD-VCL", 1), ("digits", "plain", 0),
        ("digits", "+ BOD-VCL", 1),
    }  # fmt: skip
    for task in tasks:
        if (task.cell.data, task.cell.variant, task.seed) in done:
            finish(task, 0.6 + 0.1 * task.seed)
    report(tasks, tmp_path, "comparison", None)
    shown = {(task.cell.data, task.cell.variant, task.seed) for task in reported(tasks)}
    assert shown == {("shapes", "plain", 1), ("shapes", "+ BOD-VCL", 1), ("digits", "plain", 0)}
    lines = json.loads((tmp_path / "comparison.json").read_text())["accuracy"]
    assert {(line["data"], line["variant"], line["mean"], line["seeds"]) for line in lines} == {
        ("shapes", "plain", 70, 1), ("shapes", "+ BOD-VCL", 70, 1), ("digits", "plain", 60, 1),
    }  # fmt: skip
    left_out = json.loads((tmp_path / "comparison.left_out.json").read_text())
    assert {(x["data"], x["variant"], x["seed"]) for x in left_out if x["finished"]} == done - shown
    assert len(left_out) == len(tasks) - len(shown)
    text = (tmp_path / "comparison.md").read_text()
    assert "Not finished, and left out: shapes, simclr, + BOD-VCL (seed 0); digits, simclr, + BOD-VCL" in text
    assert "shapes, simclr, + L_pred (seed 0, 1)" in text
    assert "shown, and left out: shapes, simclr, plain (seed 0); digits, simclr, + BOD-VCL (seed 1)" in text
    assert text.index("**shapes") < text.index("**digits")


@pytest.fixture
def endless(monkeypatch):
    """Instead of training: a program that runs until it is stopped. Gives the processes that were started."""
    popen, started = subprocess.Popen, []

    def start(command, **options):
        started.append(popen([sys.executable, "-c", "import time; time.sleep(1000)"], **options))
        return started[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", start)
    monkeypatch.setattr(prepare, "open_dataset", lambda *arguments, **options: None)
    return started


def test_when_time_is_up_runs_are_stopped_and_the_rest_is_reported(tmp_path, endless):
    finish(next(plan(options(tmp_path))))
    command = ["--out", str(tmp_path), "--data", "shapes", "--methods", "simclr", "--seeds", "1"]
    command += ["--workers", "2", "--minutes", "0.02"]
    assert compare.main(command) == 0
    assert len(endless) <= 2, "a run was started when the time was up"
    assert all(process.returncode == -signal.SIGTERM for process in endless)
    left_out = [f"shapes, simclr, {name} (seed 0)" for name in COMPARISON if name != "plain"]
    text = (tmp_path / "comparison.md").read_text()
    assert f"Not finished, and left out: {'; '.join(left_out)}.\n" in text


def test_nothing_finished_is_said(tmp_path, endless, capsys):
    command = ["--out", str(tmp_path), "--data", "shapes", "--methods", "simclr", "--minutes", "0.001"]
    assert compare.main(command) == 2
    assert "no run was finished within 0.001 minutes" in capsys.readouterr().err


def test_a_run_made_with_other_options_is_not_taken_for_this_one(tmp_path, capsys):
    tasks = list(plan(options(tmp_path, seeds=1)))
    tasks[0].folder.mkdir(parents=True)
    (tasks[0].folder / "arguments.json").write_text("[]")
    command = ["--out", str(tmp_path), "--data", "shapes", "--methods", "simclr", "--seeds", "1"]
    assert compare.main(command) == 2
    assert "made with other options" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--variants"], "--variants"),
        (["--methods"], "--methods"),
        (["--data"], "--data"),
        (["--out", "a_file"], "cannot write to a_file: File exists; choose another --out"),
        (["--", "--log.no-probe"], "remove --log.no-probe"),
        (["--", "--epohs", "2"], "unknown option --epohs (did you mean --epochs?)"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_rendered(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("")
    monkeypatch.setattr(prepare, "open_dataset", lambda *arguments, **options: pytest.fail("rendered"))
    assert compare.main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_runs_without_a_probe_are_no_table(tmp_path):
    with pytest.raises(DataError, match=r"no run could be probed: .*plain/0/log\.txt says why"):
        report(list(plan(options(tmp_path))), tmp_path, "comparison", None)


@pytest.mark.slow
@LONG  # its runner is tested in tests/sweep
def test_a_training_that_fails_is_named(tmp_path, capsys):
    command = [
        "--out",
        str(tmp_path),
        "--data",
        "shapes",
        "--methods",
        "simclr",
        "--seeds",
        "1",
        "--workers",
        "1",
    ]
    assert compare.main([*command, "--", "--device", "cuda:99"]) == 2
    error = capsys.readouterr().err
    assert "exit code 2" in error
    assert "cuda:99" in error


@pytest.mark.slow
def test_the_command_trains_reports_and_repeats_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(GROUPS, "comparison", {k: COMPARISON[k] for k in ("plain", "+ BOD-VCL")})
    command = [
        "--out",
        str(tmp_path),
        "--data",
        "digits",
        "--methods",
        "simclr",
        "--seeds",
        "2",
        "--epochs",
        "1",
    ]
    tiny = (
        "--batch-size 4 --digits.train-videos 8 --digits.probe-videos 32 --digits.frames 20 --digits.size 32 "
    )
    tiny += f"--clip.size 16 --model.width 4 --model.embed-dim 12 --digits.cache {tmp_path / 'cache'}"
    extra = ["--", *tiny.split()]
    assert compare.main([*command, *extra]) == 0
    lines = json.loads((tmp_path / "comparison.json").read_text())["accuracy"]
    assert {(line["variant"], line["features"], line["semantic"]) for line in lines} == {
        (v, f, s)
        for v in ("plain", "+ BOD-VCL")
        for f in ("z", "z and its std", "Z_A", "Z_M")
        for s in ("digit", "trajectory")
    }
    assert all(line["seeds"] == 2 for line in lines)
    assert (tmp_path / "comparison.png").stat().st_size > 1000
    monkeypatch.setattr(processes, "subprocess", None)
    assert compare.main([*command, *extra]) == 0
    assert "difference to plain" in capsys.readouterr().out


def test_every_variant_of_the_search_changes_the_default(tmp_path):
    assert SEARCH["default"].options == ()
    configs = {
        task.cell.variant: parse_config(task.arguments)
        for task in plan(options(tmp_path, group="search", seeds=1))
    }
    default = configs.pop("default")
    assert all(config != default for config in configs.values())


def test_the_script_for_a_gpu_names_variants_that_there_are():
    script = (Path(__file__).parents[2] / "bench" / "gpu_compare.sh").read_text()
    (named,) = re.findall(r"--variants (.+?) --epochs", script)
    assert set(shlex.split(named)) <= set(COMPARISON)
