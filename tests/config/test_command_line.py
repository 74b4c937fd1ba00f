"""One parser for every verb: a dataclass in, a checked dataclass or a one-line error out."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from bodvcl.config.command_line import Flag, Positional, argument, option_names, parse, parse_known
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.errors import ConfigError


@dataclass
class Clip:
    """How clips are cut."""

    __pydantic_config__ = STRICT

    frames: Annotated[int, Field(ge=1)] | None = None
    """Frames per clip."""


@dataclass
class Options:
    """Look at some videos."""

    __pydantic_config__ = STRICT

    data: Annotated[Positional[str], argument(metavar="DATA")]
    """Folder of videos."""
    run_dir: Annotated[UserPath, argument(metavar="RUN|FILE")]
    """Where it goes."""
    probe: Annotated[tuple[Literal["ridge", "knn"], ...], Field(min_length=1)] = ("ridge", "knn")
    """What is fitted."""
    count: Annotated[int, Field(ge=0, le=1024)] = 3
    """How many."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """Frames per second."""
    fast: bool = True
    """Quick or not."""
    no_cache: Flag = False
    """Keep nothing."""
    clip: Clip = field(default_factory=Clip)


REQUIRED = ["shapes", "--run-dir", "run"]


def test_every_spelling_of_an_option(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    argv = ["shapes", "--run_dir=~/run", "--probe", "knn", "--clip.frames=4", "--no-fast", "--no-cache"]
    given = parse(Options, argv, prog="bodvcl look")
    assert given == Options("shapes", Path("/home/me/run"), ("knn",), 3, None, False, True, Clip(4))
    assert parse(Options, ["--run-dir", "run", "--", "-x"], prog="bodvcl look").data == "-x"


def test_names_of_options():
    assert list(option_names(Options)) == [
        "run-dir", "probe", "count", "rate", "fast", "no-fast", "no-cache", "clip.frames",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "missing: DATA, --run-dir RUN|FILE; see bodvcl look --help"),
        (["shapes"], "missing: --run-dir RUN|FILE; see bodvcl look --help"),
        ([*REQUIRED, "more"], "unexpected argument more; see bodvcl look --help"),
        (
            [*REQUIRED, "--cuont", "1"],
            "unknown option --cuont (did you mean --count?); see bodvcl look --help",
        ),
        ([*REQUIRED, "--cache"], "unknown option --cache (did you mean --no-cache?); see"),
        ([*REQUIRED, "--no-no-cache"], "unknown option --no-no-cache (did you mean --no-cache?)"),
        ([*REQUIRED, "--frames", "2"], "unknown option --frames (did you mean --clip.frames?)"),
        ([*REQUIRED, "--count"], "--count: its value is missing; see bodvcl look --help"),
        ([*REQUIRED, "--count", "x"], "--count: not a whole number: 'x'; see bodvcl look --help"),
        ([*REQUIRED, "--rate", "x"], "--rate: cannot take 'x'; see bodvcl look --help"),
        ([*REQUIRED, "--probe", "svm"], "invalid choice 'svm' for argument '--probe'; expected one of"),
        ([*REQUIRED, "--probe"], "--probe: tuple should have at least 1 item"),
        ([*REQUIRED, "--count", "-1"], "--count: input should be greater than or equal to 0, got -1"),
        ([*REQUIRED, "--rate", "nan"], "--rate: input should be a finite number, got nan"),
        (
            [*REQUIRED, "--clip.frames", "9" * 12],
            "--clip.frames: expected at most 2,147,483,647, got 999,999",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_remedy(argv, message):
    with pytest.raises(ConfigError) as error:
        parse(Options, argv, prog="bodvcl look")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_help_shows_every_option_and_its_text(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Options, ["--help"], prog="bodvcl look")
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for part in (
        "usage: bodvcl look",
        "Look at some videos.",
        "DATA",
        "RUN|FILE",
        "--clip.frames",
        "(required)",
    ):
        assert part in shown
    assert "--no-no-cache" not in shown


def test_what_is_unknown_can_be_left_to_another_parser():
    argv = [*REQUIRED, "--epochs", "3", "--count", "2", "--help"]
    given, rest = parse_known(Options, argv, prog="bodvcl look", help=False)
    assert (given.count, rest) == (2, ["--epochs", "3", "--help"])
    with pytest.raises(ConfigError, match="--count"):
        parse_known(Options, [*REQUIRED, "--count", "-1"], prog="bodvcl look")


def test_help_on_a_terminal_of_one_column_is_printed():
    command = [sys.executable, "-m", "bodvcl.train", "--help"]
    done = subprocess.run(
        command, env=os.environ | {"COLUMNS": "1"}, capture_output=True, text=True, timeout=60, check=True
    )
    assert "--koopman.xi" in done.stdout


def test_the_parser_needs_no_torch():
    code = "import sys, bodvcl.config.command_line, bodvcl.config.parse; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
