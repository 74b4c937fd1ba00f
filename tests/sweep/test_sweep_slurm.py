"""The Slurm script of a sweep, run by bash with a stand-in for srun."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from sweeps import write_sweep

import bodvcl
from bodvcl.cli.sweep import main
from bodvcl.sweep.slurm import batch_script


def test_the_script_asks_for_one_task_per_run(tmp_path):
    script = batch_script(
        ["python", "-m", "bodvcl", "sweep", "my file.yaml"], ["--epochs", "2"], 12, tmp_path / "nu", tmp_path,
        ["time=48:00:00", "partition=gpu", "exclusive"],
    )  # fmt: skip
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")]
    assert {"array=0-11", "time=48:00:00", "partition=gpu", "exclusive", "requeue", "signal=USR1@300"} <= {
        *lines
    }
    assert "time=24:00:00" not in lines
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_what_is_submitted_is_the_script(tmp_path, capsys, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sbatch").write_text('#!/bin/sh\necho "Submitted batch job 7: $1"\n')
    (programs / "sbatch").chmod(0o755)
    path, out = write_sweep(tmp_path), tmp_path / "out"
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert main([str(path), "--out", str(out), "--slurm"]) == 0
    told = capsys.readouterr().out
    assert f"sbatch {out / 'sweep.sbatch'}" in told
    assert f"bodvcl sweep {path} --out {out} --report" in told
    assert main([str(path), "--out", str(out), "--slurm", "--submit"]) == 0
    assert f"Submitted batch job 7: {out / 'sweep.sbatch'}" in capsys.readouterr().out
    monkeypatch.setenv("PATH", "/nowhere")
    assert main([str(path), "--out", str(out), "--slurm", "--submit"]) == 2
    assert "cannot call sbatch" in capsys.readouterr().err


@pytest.mark.slow
def test_a_task_of_the_script_trains_its_run_and_is_not_repeated(tmp_path, shapes_cache):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, does in {
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
        "scontrol": ":",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    path, out = write_sweep(tmp_path), tmp_path / "out"
    extra = ["--", "--shapes.cache", str(shapes_cache)]
    assert main([str(path), "--out", str(out), "--slurm", *extra]) == 0
    environment = {
        **os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_LOCALID": "0", "SLURM_TASKS_PER_NODE": "1",
        "SLURM_JOB_ID": "42", "SLURM_ARRAY_JOB_ID": "42", "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": "localhost", "PYTHONPATH": str(Path(bodvcl.__file__).parents[1]),
    }  # fmt: skip
    for _ in range(2):
        done = subprocess.run(
            ["bash", str(out / "sweep.sbatch")], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    run = out / "0.2" / "0" / "run"
    assert json.loads((run / "summary.json").read_text())["steps"] == 2
    assert (run / "probe.json").exists()
    assert not (out / "0.1").exists()
    assert main([str(path), "--out", str(out), "--report", *extra]) == 0
    assert "Not finished, and left out: 0.1 (seed 0)." in (out / "table.md").read_text()
