"""The `bodvcl` command and its verbs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import pytest

import bodvcl
from bodvcl.cli import info
from bodvcl.cli.console import run_verb
from bodvcl.cli.main import VERBS, main
from bodvcl.errors import UserError
from bodvcl.ops import native


def exit_code(argv):
    """Of the command, however it ends: a parser that printed its help leaves by SystemExit."""
    try:
        return main(argv)
    except SystemExit as stop:
        return stop.code


def test_help_lists_every_verb(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)
    usage, about, heading = out.split("\n\n")[:3]
    assert (usage, heading.splitlines()[0]) == ("usage: bodvcl VERB [OPTIONS]", "verbs:")
    assert len(about.splitlines()) == 1, "what the program is; not how the library is used"
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"bodvcl {bodvcl.__version__}"


def test_an_unknown_verb_is_refused_with_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "no verb 'trian' (did you mean train?)" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb, capsys):
    assert exit_code([verb, "--help"]) == 0
    assert f"bodvcl {verb}" in capsys.readouterr().out


def test_info_says_what_each_operator_would_use_and_why_not_the_others(capsys):
    assert main(["info", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    koopman = report["operators"]["koopman"]["cpu"]
    assert koopman["backend"] == ("cpu" if report["libraries"]["_C"]["state"] == "loaded" else "torch")
    assert koopman["cuda"]
    assert report["packages"]["torch"]
    assert report["decoders"].keys() == {"PyAV", "DALI", "TorchCodec"}
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for part in ("native libraries", "operators", "decoders", "koopman on cpu"):
        assert part in text


def test_info_says_when_another_build_was_asked_for(monkeypatch, capsys):
    """pip's cache of wheels does not know BODVCL_BUILD."""
    monkeypatch.setattr(native, "BUILD", {"mode": "cpu"})
    for asked, said in (("CPU", False), ("", False), ("cuda", True)):
        monkeypatch.setenv("BODVCL_BUILD", asked)
        assert main(["info"]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if "BODVCL_BUILD:" in line]
        assert len(lines) == said
    assert "cuda in the environment, but this build is of BODVCL_BUILD=cpu" in lines[0]
    assert "--no-cache-dir" in lines[0]
    monkeypatch.setattr(native, "BUILD", {})
    assert main(["info"]) == 0
    assert "BODVCL_BUILD:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["processor : 0", "model name\t: Xeon 8480", "processor : 1", "model name\t: other"], "Xeon 8480"),
        (
            ["processor : 0", "CPU implementer\t: 0x41", "CPU part\t: 0xd4f"],
            "m (implementer 0x41, part 0xd4f)",
        ),
        ([], "m"),
    ],
)
def test_info_names_the_processor(lines, name):
    assert info.processor_name(lines, "m") == name


def test_without_the_native_library_info_gives_the_reason():
    environment = os.environ | {"BODVCL_NATIVE": "0"}
    command = [sys.executable, "-m", "bodvcl.info", "--brief"]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "the PyTorch path is used" in out
    assert "BODVCL_NATIVE=0" in out
    assert "native operators loaded" in info.brief() or "PyTorch path" in info.brief()


def test_a_report_of_a_folder_that_holds_no_run_is_refused(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nothing")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("bodvcl report: error: ")
    assert "\n" not in error


def test_errors_and_warnings_are_one_line_each(capsys):
    def body() -> int:
        warnings.warn("careful", UserWarning, stacklevel=1)
        raise UserError("wrong: expected right")

    assert run_verb("train", body) == 2
    assert capsys.readouterr().err == (
        "bodvcl train: warning: careful\nbodvcl train: error: wrong: expected right\n"
    )

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert run_verb("train", interrupted) == 130


def test_a_reader_that_closes_the_pipe_is_no_error():
    command = f"{sys.executable} -m bodvcl.info | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].startswith("bodvcl ")
