"""Standard streams that are closed, broken, full or ASCII stop nothing and corrupt nothing."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodvcl.cli.console import run_verb
from bodvcl.system.streams import SteadyStream


class Refusing(io.StringIO):
    """Takes some characters, then fails as a pipe or a disk does."""

    def __init__(self, room: int, code: int) -> None:
        super().__init__()
        self.room, self.code = room, code

    def write(self, text: str) -> int:
        self.room -= len(text)
        if self.room < 0:
            raise OSError(self.code, os.strerror(self.code))
        return super().write(text)


@given(texts=st.lists(st.text()), encoding=st.sampled_from(["ascii", "latin-1", "utf-8", "cp1252"]))
def test_any_text_can_be_written_in_any_encoding(texts, encoding):
    raw = io.BytesIO()
    stream = SteadyStream(io.TextIOWrapper(raw, encoding=encoding, newline=""))
    for text in texts:
        assert stream.write(text) == len(text)
    stream.flush()
    whole = "".join(texts)
    assert raw.getvalue() == whole.encode(encoding, "backslashreplace")
    assert stream.lost is None


@given(texts=st.lists(st.text()), room=st.integers(0, 20))
def test_a_stream_that_fails_is_left_alone_from_then_on(texts, room):
    stream = SteadyStream(refusing := Refusing(room, errno.EPIPE))
    for text in texts:
        assert stream.write(text) == len(text)
        stream.flush()
    assert "".join(texts).startswith(refusing.getvalue())
    assert (stream.lost is not None) == (len("".join(texts)) > room)


@pytest.mark.parametrize(
    ("code", "answers", "expected"),
    [
        (errno.EPIPE, True, 141),  # the reader has seen enough
        (errno.ENOSPC, True, 2),
        (errno.EIO, True, 2),  # a terminal that is gone
        (errno.EPIPE, False, 0),  # what counts lies in a folder
        (errno.ENOSPC, False, 0),
    ],
)
def test_work_goes_on_when_nobody_listens(code, answers, expected, monkeypatch, capsys):
    done = []

    def body() -> int:
        for number in range(100):
            print("line", number, "of which some \N{GREEK SMALL LETTER LAMDA}")
            done.append(number)
        return 0

    monkeypatch.setattr(sys, "stdout", Refusing(50, code))
    assert run_verb("info", body, answers=answers) == expected
    assert done == list(range(100))
    said = capsys.readouterr().err
    assert said.count("\n") == (expected == 2)


def test_a_program_without_standard_streams_works(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)

    def body() -> int:
        print("out")
        print("err", file=sys.stderr)
        sys.stdout.flush()
        return 3

    assert run_verb("info", body) == 3
    assert sys.stdout is None
    assert sys.stderr is None


def test_closed_streams_do_not_give_their_numbers_to_files(tmp_path):
    code = (
        "import os, sys\n"
        "from bodvcl.cli.console import run_verb\n"
        "def body():\n"
        f"    file = open({str(tmp_path / 'data')!r}, 'wb', buffering=0)\n"
        "    for number in (1, 2):\n"
        "        os.write(number, b'noise of a library')\n"
        "    file.write(b'data')\n"
        "    return 5\n"
        "sys.exit(run_verb('info', body))\n"
    )
    command = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", sys.executable, "-c", code]
    assert subprocess.run(command).returncode == 5
    assert (tmp_path / "data").read_bytes() == b"data"


def test_output_to_a_full_device_is_one_line():
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "bodvcl.info"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "bodvcl info: error: the output cannot be written: No space left on device\n"
