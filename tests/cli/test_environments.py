"""Whole verbs where nobody listens, in ASCII, in narrow terminals, without a home folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from bodvcl.cli.main import VERBS, main
from bodvcl.engine.checkpoint import ENCODER

ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}


def train(options, run, *redirections, wrapper=(), drop=(), **variables):
    """Train in another process; returns what became of it."""
    environment = {name: value for name, value in os.environ.items() if name not in drop} | variables
    command = [*wrapper, sys.executable, "-m", "bodvcl.train", *options, "--run-dir", str(run)]
    shell = ["bash", "-c", f'exec "$@" {" ".join(redirections)}', "bash", *command]
    return subprocess.run(shell, env=environment, capture_output=True)


def complete(run):
    """The files of a finished run, each of which a program can read."""
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        assert json.loads(line)["step"]
    assert (run / ENCODER).exists()
    assert json.loads((run / "probe.json").read_text(encoding="utf-8"))
    return "</html>" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "streams",
    [
        (">&-", "2>&-", "<&-"),
        pytest.param((">&-",), marks=pytest.mark.slow),
        pytest.param(("2>&-",), marks=pytest.mark.slow),
        pytest.param((">/dev/full", "2>/dev/full"), marks=pytest.mark.slow),
        pytest.param(("> >(true)", "2> >(true)"), marks=pytest.mark.slow),  # readers that end at once
    ],
    ids=" ".join,
)
def test_a_training_that_nobody_listens_to_is_complete(streams, tiny, tmp_path):
    done = train([*tiny, "--max-steps", "2"], tmp_path / "run", *streams)
    assert done.returncode == 0, done.stderr
    assert complete(tmp_path / "run")


def test_a_training_in_ascii_is_complete(tiny, tmp_path):
    done = train([*tiny, "--max-steps", "2"], tmp_path / "run", **ASCII)
    assert done.returncode == 0, done.stderr
    assert complete(tmp_path / "run")
    assert b"\\xb1" in done.stdout  # of plus or minus, in the table of the probe
    done.stdout.decode("ascii")


@pytest.mark.slow
def test_a_name_that_ascii_cannot_write_is_one_line(tiny, tmp_path):
    done = train([*tiny, "--max-steps", "2"], tmp_path / "r\N{LATIN SMALL LETTER U WITH DIAERESIS}n", **ASCII)
    assert done.returncode == 2
    assert b"file names are ascii here, which has no such letters; set LC_ALL=C.UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None, reason="being another user needs root"
)
def test_a_training_of_an_unknown_user_ends_well(tmp_path):
    run = tmp_path / "run"
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o777)
    wrapper = ("setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups")
    if subprocess.run([*wrapper, sys.executable, "-c", "import torch"], capture_output=True).returncode:
        pytest.skip("this Python or its packages lie where only root may read")
    options = [
        "--data",
        "shapes",
        "--shapes.train-videos",
        "8",
        "--shapes.probe-videos",
        "16",
        "--shapes.frames",
        "20",
    ]
    options += ["--batch-size", "4", "--max-steps", "1", "--workers", "1"]
    drop = ("HOME", "USER", "LOGNAME", "BODVCL_INDEX", "XDG_CACHE_HOME")
    done = train(options, run, wrapper=wrapper, drop=drop, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert complete(run)
    assert b"matplotlib" not in done.stderr.lower()


@pytest.mark.parametrize(("columns", "term"), [("20", None), ("20", "dumb"), ("0", ""), ("x", "xterm")])
def test_tables_and_helps_fit_any_terminal(columns, term, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    if term is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", term)
    assert main(["info"]) == 0
    assert "operators" in capsys.readouterr().out
    for verb in VERBS:
        try:
            code = main([verb, "--help"])
        except SystemExit as stop:
            code = stop.code
        assert code == 0
        assert "bodvcl" in capsys.readouterr().out


@pytest.mark.parametrize("columns", ["20"])
def test_a_scan_and_a_probe_fit_any_terminal(columns, finished_run, shapes_cache, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    (data,) = shapes_cache.glob("*/labels.csv")
    assert main(["data", "scan", str(data), "--workers", "0"]) == 0
    assert main(["probe", "--checkpoint", str(finished_run), "--no-cache", "--workers", "0"]) == 0
    assert main(["report", str(finished_run)]) == 0
    assert capsys.readouterr().out
