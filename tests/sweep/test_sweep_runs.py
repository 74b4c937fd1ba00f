"""A sweep runs what is missing, goes on after a stop, and names what failed."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from sweeps import StandIns, option, write_sweep

from bodvcl.cli.sweep import main
from bodvcl.sweep import local, prepare, processes


@pytest.fixture
def stand_ins(monkeypatch):
    """Makes the processes of a sweep stand-ins with a behaviour."""
    monkeypatch.setattr(prepare, "open_dataset", lambda *arguments, **options: None)
    monkeypatch.setattr(local, "visible_gpus", list)

    def install(behaviour):
        found = StandIns(behaviour)
        monkeypatch.setattr(processes.subprocess, "Popen", found)
        return found

    return install


def xi(words):
    return option(words, "--koopman.xi")


def test_every_run_is_run_once(tmp_path, capsys, stand_ins):
    path, out = write_sweep(tmp_path, seeds=2), tmp_path / "out"
    found = stand_ins(lambda words: "0.5" if xi(words) == "0.1" else "0.75")
    assert main([str(path), "--out", str(out), "--workers", "2"]) == 0
    runs = {(xi(words), option(words, "--seed"), option(words, "--run-dir")) for words in found.started}
    assert runs == {(x, s, str(out / x / s / "run")) for x in ("0.1", "0.2") for s in ("0", "1")}
    assert {environment["OMP_NUM_THREADS"] for environment in found.environments} == {
        os.environ.get("OMP_NUM_THREADS", "1")
    }
    assert "| 0.2 | 75.0 ± 0.0 |" in (out / "table.md").read_text()
    assert {path.name for path in out.glob("table.*")} == {
        f"table.{end}" for end in ("md", "csv", "json", "png")
    }
    before = len(found.started)
    assert main([str(path), "--out", str(out)]) == 0
    assert main([str(path), "--out", str(out), "--report"]) == 0
    assert len(found.started) == before
    assert main([str(path), "--out", str(out), "--seeds", "3"]) == 0
    assert len(found.started) == before + 2
    capsys.readouterr()
    assert main([str(path), "--out", str(out), "--", "--epochs", "2"]) == 2
    assert "made with other options: choose another --out" in capsys.readouterr().err


def test_a_run_that_fails_does_not_stop_the_others(tmp_path, capsys, stand_ins):
    path, out = write_sweep(tmp_path, vary={"koopman.xi": [0.1, 0.2, 0.3]}), tmp_path / "out"
    stand_ins(lambda words: {"0.1": "fail", "0.2": "silent"}.get(xi(words), "0.5"))
    assert main([str(path), "--out", str(out), "--workers", "1"]) == 1
    told = capsys.readouterr()
    failed, silent = told.err.strip().splitlines()[-2:]
    assert "failed: 0.1, seed 0:" in failed
    assert "ended with exit code 3: the disk is full" in failed
    assert f"(log: {out / '0.1' / '0' / 'log.txt'})" in failed
    assert "failed: 0.2, seed 0: it ended without probe.json" in silent
    assert "Not finished, and left out: 0.1 (seed 0); 0.2 (seed 0)." in (out / "table.md").read_text()
    again = stand_ins(lambda words: "0.5")
    assert main([str(path), "--out", str(out)]) == 0
    assert sorted(map(xi, again.started)) == ["0.1", "0.2"]
    assert "left out" not in (out / "table.md").read_text()


def test_all_failed_is_no_table(tmp_path, capsys, stand_ins):
    path, out = write_sweep(tmp_path), tmp_path / "out"
    stand_ins(lambda words: "fail")
    assert main([str(path), "--out", str(out)]) == 1
    assert capsys.readouterr().err.count("failed:") == 2
    assert not (out / "table.md").exists()
    assert main([str(path), "--out", str(out), "--report"]) == 2
    assert "no run has finished in" in capsys.readouterr().err


def test_an_evaluation_follows_its_run(tmp_path, stand_ins):
    path, out = (
        write_sweep(tmp_path, then={"again": "finetune --checkpoint {run} --data shapes"}),
        tmp_path / "out",
    )
    found = stand_ins(lambda words: "fail" if "finetune" in words else "0.5")
    assert main([str(path), "--out", str(out), "--only", "0.1"]) == 1
    assert [words[3] for words in found.started] == ["train", "finetune"]
    folder = out / "0.1" / "0"
    assert option(found.started[1], "--checkpoint") == str(folder / "run")
    assert option(found.started[1], "--run-dir") == str(folder / "again" / "run")
    assert "--resume" in found.started[1]
    assert main([str(path), "--out", str(out), "--only", "0.1"]) == 1
    assert [words[3] for words in found.started[2:]] == ["finetune"]


def test_after_a_signal_the_runs_are_stopped_and_go_on_later(tmp_path, capsys, stand_ins):
    path, out = write_sweep(tmp_path, vary={"koopman.xi": [0.1, 0.2, 0.3, 0.4]}), tmp_path / "out"
    found = stand_ins(lambda words: "0.5" if xi(words) == "0.1" else "endless")

    def stop() -> None:
        while not {"0.2", "0.3"} <= {p.parents[2].name for p in Path(out).glob("*/0/run/begun")}:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    assert main([str(path), "--out", str(out), "--workers", "2"]) == 143
    assert "terminated" in capsys.readouterr().err
    codes = {Path(run).parents[1].name: process.returncode for run, process in found.returned.items()}
    assert codes == {"0.1": 0, "0.2": -signal.SIGTERM, "0.3": -signal.SIGTERM}
    rest = stand_ins(lambda words: "0.5")
    assert main([str(path), "--out", str(out)]) == 0
    assert sorted(map(xi, rest.started)) == ["0.2", "0.3", "0.4"]
    assert all("--resume" in words for words in rest.started)


def test_one_run_per_gpu_unless_workers_say_otherwise(monkeypatch):
    assert local.slots(None, ["2", "5"]) == [{"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in local.slots(3, ["2", "5"])] == ["2", "5", "2"]
    assert local.slots(3, []) == [{}, {}, {}]
    monkeypatch.setattr(local, "available_cores", lambda: 4)
    assert local.slots(None, []) == [{}] * 4
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    assert local.visible_gpus() == ["3", "7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert local.visible_gpus() == ["0", "1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "missing: FILE; bodvcl sweep --list"),
        (["mine.yaml", "--dry-run", "--report"], "--dry-run and --report contradict each other"),
        (["mine.yaml", "--submit"], "--submit needs --slurm"),
        (["mine.yaml", "--task", "9"], "--task 9: the sweep has 2 runs, 0 to 1"),
        (["mine.yaml", "--only", "0.3"], "--only '0.3' (did you mean 0.2?): there are: 0.1; 0.2"),
        (["mine.yaml", "--data", "ucf101:/u"], "--data ucf101:/u: nothing in this sweep takes it"),
        (["mine.yaml", "--checkpoints", "gone"], "--checkpoints: gone: no such file or folder"),
        (["mine.yaml", "--slurm", "--sbatch", "--time=3"], "unknown option --time"),
        (["mine.yaml", "--slurm", "--sbatch", "array=3"], "--sbatch 'array=3': the sweep sets array itself"),
        (["mine.yaml", "--out", "mine.yaml"], "cannot write to mine.yaml: File exists; choose another --out"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(tmp_path, capsys, monkeypatch, stand_ins, words, message):
    write_sweep(tmp_path)
    monkeypatch.chdir(tmp_path)
    stand_ins(lambda words: pytest.fail("started"))
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
