"""The table of a sweep: means, spreads and differences, and the paper's numbers marked as such."""

from __future__ import annotations

import csv
import json

import pytest
from sweeps import write_sweep

from bodvcl.errors import ConfigError
from bodvcl.sweep.file import read_sweep
from bodvcl.sweep.job import SUMMARY, is_finished
from bodvcl.sweep.measure import measure, training_costs
from bodvcl.sweep.plan import Plan, SweepJob
from bodvcl.sweep.report import report

SCORES = {("plain", 0): 0.5, ("plain", 1): 0.7, ("ours", 0): 0.6, ("ours", 1): 0.9}
PAPER = {
    "source": "Table 1",
    "data": ["kinetics400"],
    "values": {"K400 linear": {"plain": 60.5, "ours": 63.8}, "mAP": {"ours": 21.2}},
}
LOSS = {"loss": {"plain": "--decouple none", "ours": "--decouple bod"}}


def jobs(tmp_path, cells, scores, *, data="shapes"):
    """Finished jobs with these scores of the shape: (label, seed) to share."""
    made = {}
    for (text, seed), score in scores.items():
        cell = cells[text]
        job = SweepJob(folder=tmp_path / text / str(seed), arguments=("train",), cell=cell, seed=seed)
        job.begin()
        job.run.mkdir()
        row = {"semantic": "shape", "skipped": None, "train": 8, "test": 8}
        rows = [{**row, "features": "backbone", "pretrained": score}]
        rows += [{**row, "features": "dynamic", "pretrained": 0.25}]
        clip = {"frames": 8, "stride": 2, "size": 16, "fps": None, "views": 2}
        config = {"data": data, "method": "simclr", "decouple": "bod", "seed": seed, "clip": clip}
        (job.run / "config.yaml").write_text(
            json.dumps({**config, "batch_size": 4, "model": {"backbone": "tiny"}})
        )
        (job.run / "probe.json").write_text(json.dumps({"rows": rows}))
        (job.run / "summary.json").write_text(json.dumps({"steps": 5}))
        log = {"step": 5, "clips_per_second": 8 / (2 * (1 + seed)), "memory_gb": 2.5}
        (job.run / "metrics.jsonl").write_text(json.dumps(log) + "\n")
        made[text, seed] = job
    return made


def finished(tmp_path, sweep, scores, **changes):
    cells = {label: {"loss": label} for label, _ in scores}
    made = jobs(tmp_path, cells, scores, **changes)
    return Plan([(job,) for job in made.values()], ("UCF101 (needs --data ucf101:FOLDER)",))


def test_means_spreads_and_differences_are_those_of_the_seeds(tmp_path, capsys):
    """60 and 75, standard deviations of 10 and 15 times the root of 2; differences 10 and 20: 15 ± 5 t."""
    sweep = read_sweep(write_sweep(tmp_path, vary=LOSS, baseline={"loss": "plain"}, paper=PAPER))
    report(sweep, finished(tmp_path, sweep, SCORES), tmp_path)
    entries = {
        (e["row"], e["column"]): e for e in json.loads((tmp_path / "table.json").read_text())["entries"]
    }
    plain, ours = (entries[row, "shape, z, ridge top1"] for row in ("plain", "ours"))
    assert (plain["mean"], plain["spread"]) == (pytest.approx(60), pytest.approx(200**0.5))
    assert (ours["mean"], ours["spread"]) == (pytest.approx(75), pytest.approx(450**0.5))
    assert (plain["gain"], plain["margin"]) == (None, None)
    assert (ours["gain"], ours["margin"]) == (pytest.approx(15), pytest.approx(12.706204736432095 * 5))
    assert ours["seeds"] == {"0": pytest.approx(60), "1": pytest.approx(90)}
    assert entries["ours", "seconds"]["mean"] == pytest.approx(15)
    assert entries["ours", "seconds per step"]["mean"] == pytest.approx(3)
    assert entries["ours", "memory, GB"]["mean"] == pytest.approx(2.5)
    text = (tmp_path / "table.md").read_text()
    assert "mean ± standard deviation over 2 seeds (difference to the row plain ± 95% interval)" in text
    assert "| ours | 75.0 ± 21.2 (+15.0 ± 63.5) | 25.0 ± 0.0 (+0.0 ± 0.0) |" in text
    assert "| 15.0 ± 7.1 | 3.00 ± 1.41 | 2.50 ± 0.00 |" in text
    assert "75.0 ± 21.2 (+15.0 ± 63.5)" in capsys.readouterr().out


def test_numbers_of_the_paper_are_marked_and_said_to_be_of_other_data(tmp_path):
    sweep = read_sweep(write_sweep(tmp_path, vary=LOSS, paper=PAPER))
    plan = finished(tmp_path, sweep, SCORES)
    report(sweep, plan, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| paper: K400 linear | paper: mAP |" in text
    assert "| 63.8 | 21.2 |" in text
    assert "the paper's own numbers (Table 1), of kinetics400. Ours are of another data set (shapes)" in text
    assert "Left out for want of data: UCF101 (needs --data ucf101:FOLDER)." in text
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert {(r["row"], r["mean"]) for r in rows if r["source"] == "paper"} == {
        ("plain", "60.5"), ("ours", "63.8"), ("ours", "21.2")
    }  # fmt: skip
    assert all(float(r["mean"]) and r["seeds"] == "2" for r in rows if r["source"] == "here")


def test_the_same_data_set_needs_no_warning(tmp_path):
    sweep = read_sweep(write_sweep(tmp_path, vary=LOSS, paper=PAPER))
    report(sweep, finished(tmp_path, sweep, SCORES, data="kinetics400:/data"), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "of kinetics400; they were not measured here." in text
    assert "another data set" not in text


def test_differences_are_those_of_common_seeds(tmp_path):
    scores = {key: value for key, value in SCORES.items() if key != ("plain", 0)}
    sweep = read_sweep(write_sweep(tmp_path, vary=LOSS, baseline={"loss": "plain"}))
    report(sweep, finished(tmp_path, sweep, scores), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "over 1 to 2 seeds" in text
    assert "| ours | 75.0 ± 21.2 (+20.0) |" in text
    assert "| plain | 70.0 |" in text


def test_only_what_is_asked_for_is_shown(tmp_path):
    sweep = read_sweep(write_sweep(tmp_path, vary=LOSS, show=["shape, Z_M, ridge top1"]))
    plan = finished(tmp_path, sweep, SCORES)
    assert measure(sweep, plan).columns[0] == "shape, Z_M, ridge top1"
    assert "shape, z, ridge top1" not in measure(sweep, plan).columns
    wrong = read_sweep(write_sweep(tmp_path, vary=LOSS, show=["shape, z, top1"]))
    with pytest.raises(
        ConfigError, match="show: no run has measured any of shape, z, top1; there are: shape, z"
    ):
        report(wrong, plan, tmp_path)
    wrong = read_sweep(write_sweep(tmp_path, vary=LOSS, over="second"))
    with pytest.raises(ConfigError, match=r"over: no column 'second' \(did you mean seconds\?\)"):
        report(wrong, plan, tmp_path)


def test_an_axis_can_be_the_columns(tmp_path):
    vary = {
        "start": {"a": "--decouple none", "b": "--decouple bod"},
        "task": {"easy": "--epochs 1", "hard": "--epochs 2"},
    }
    sweep = read_sweep(write_sweep(tmp_path, vary=vary, columns="task", show=["shape, z, ridge top1"]))
    cells = {f"{s}{t}": {"start": s, "task": t} for s in "ab" for t in ("easy", "hard")}
    scores = {("aeasy", 0): 0.9, ("ahard", 0): 0.4, ("beasy", 0): 0.8}
    made = jobs(tmp_path, cells, scores)
    report(sweep, Plan([(job,) for job in made.values()]), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| start | easy: shape, z, ridge top1 | hard: shape, z, ridge top1 |" in text
    assert "| a | 90.0 | 40.0 |" in text
    assert "| b | 80.0 | |" in text


def test_a_training_without_a_probe_has_finished_when_all_steps_are_done(tmp_path):
    job = SweepJob(folder=tmp_path, arguments=("train",), cell={}, seed=0, result=SUMMARY)
    job.begin()
    assert not is_finished(job)
    job.run.mkdir()
    for steps in (3, 5):
        (job.run / SUMMARY).write_text(json.dumps({"steps": steps, "planned steps": 5, "seconds": 1.0}))
        assert is_finished(job) == (steps == 5)


def test_the_plot_is_drawn_whatever_varies(tmp_path):
    over = {"vary": {"prediction.nu": [0, "1e-5", "1e-3"]}, "over": None}
    for fields in (over, {"vary": LOSS, "over": "seconds"}, {"vary": LOSS}):
        paper = {**PAPER, "values": {"top-1": {"1e-5": 63.8}}} if fields is over else PAPER
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        sweep = read_sweep(write_sweep(folder, **fields, paper=paper))
        (axis,) = sweep.vary
        labels = [str(label) for label in sweep.vary[axis]]
        cells = {label: {axis: label} for label in labels}
        made = jobs(folder, cells, {(label, 0): 0.5 for label in labels})
        report(sweep, Plan([(job,) for job in made.values()]), folder)
        assert (folder / "table.png").stat().st_size > 5000


def test_time_and_memory_are_right_after_an_interruption(tmp_path):
    """8 clips a step at 4, 2 and 4 clips/s: 2, 4 and 2 s; the median is 2, and 12 steps take 12 * 8 / 3 s."""
    config = {"batch_size": 4, "clip": {"views": 2}}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    (tmp_path / "summary.json").write_text(json.dumps({"seconds": 1.0, "steps": 12}))
    lines = [(4, 4.0, 3.0), (8, 1.0, 3.0), (8, 2.0, 2.0), (12, 4.0, 2.0)]  # step 8 twice: it was interrupted
    log = "".join(
        json.dumps({"step": step, "clips_per_second": rate, "memory_gb": memory}) + "\n"
        for step, rate, memory in lines
    )
    (tmp_path / "metrics.jsonl").write_text(log)
    assert training_costs(tmp_path) == pytest.approx(
        {"seconds": 32.0, "seconds per step": 2.0, "memory, GB": 3.0}
    )
    (tmp_path / "metrics.jsonl").write_text("")
    assert training_costs(tmp_path) == {}


def test_probes_have_no_costs(tmp_path):
    sweep = read_sweep(write_sweep(tmp_path, vary=LOSS))
    plan = finished(tmp_path, sweep, SCORES)
    for (job,) in plan.chains:
        (job.run / SUMMARY).unlink()
    assert list(measure(sweep, plan).columns) == ["shape, z, ridge top1", "shape, Z_M, ridge top1"]
