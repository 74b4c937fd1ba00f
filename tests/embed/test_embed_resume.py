"""An interrupted `bodvcl embed` continues, bit for bit, and does not continue what differs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
from video_files import write_video

from bodvcl.embed import plan, run
from bodvcl.embed.file import read_embeddings
from bodvcl.embed.parts import Parts, folder_of


@pytest.fixture
def small_parts(monkeypatch) -> None:
    """Parts of two videos, batches of one."""
    monkeypatch.setattr(plan, "_PART", 2)
    monkeypatch.setattr(plan, "FRAMES_AT_ONCE", 1)


@pytest.fixture
def interrupted(monkeypatch, embed, small_parts):
    """Runs the verb until it has written some parts."""

    def start(source: Path, out: Path, *options: str, after: int = 1, **run: Path) -> None:
        with monkeypatch.context() as patch:
            save = Parts.save

            def stop(self, number, *rest):
                if number == after:
                    raise KeyboardInterrupt
                save(self, number, *rest)

            patch.setattr(Parts, "save", stop)
            assert embed(source, out, *options, **run) == 130

    return start


@pytest.mark.parametrize("name", ["out.parquet", "out.safetensors"])
def test_an_interrupted_command_continues_bit_for_bit(embed, interrupted, videos, tmp_path, capsys, name):
    out, whole = tmp_path / name, tmp_path / "whole" / name
    whole.parent.mkdir()
    interrupted(videos, out)
    assert not out.exists()
    said = capsys.readouterr()
    assert f"what is done is kept in {folder_of(out)}; the same command continues" in said.out
    assert "interrupted" in said.err
    assert embed(videos, out) == 0
    assert "continues: 1 of 3 parts were done before" in capsys.readouterr().out
    assert embed(videos, whole) == 0
    for path in whole.parent.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith((".", "out"))) == sorted(
        p.name for p in whole.parent.iterdir()
    )


def test_an_interrupted_assembly_continues(embed, videos, tmp_path, capsys, monkeypatch, small_parts):
    out = tmp_path / "out.parquet"

    def full(*_):
        raise OSError(28, "No space left on device", str(out))

    with monkeypatch.context() as patch:
        patch.setattr(run, "assemble", full)
        assert embed(videos, out) == 2
    assert "the disk is full" in capsys.readouterr().err
    stale = tmp_path / ".out.parquet.123.part"
    stale.write_bytes(b"half")
    assert embed(videos, out) == 0
    assert "continues: 3 of 3 parts" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "videos"]


def test_what_differs_is_not_continued(embed, interrupted, other_run, videos, tmp_path, capsys):
    out = tmp_path / "out.parquet"
    interrupted(videos, out)
    before = sorted(folder_of(out).iterdir())
    assert embed(videos, out, "--clip.size", "24") == 2
    said = capsys.readouterr().err
    assert "differs in --clip.size (16, now 24); begin anew with --restart" in said
    assert embed(videos, out, run=other_run) == 2
    assert "differs in the weights of the encoder; begin" in capsys.readouterr().err
    assert embed(videos, out, "--window", "1") == 2
    assert (
        "--window (none, now 1.0); the clips per row (3, now 1); --step (none, now 1.0)"
        in capsys.readouterr().err
    )
    write_video(videos / "c.mp4", 44)
    assert embed(videos, out) == 2
    assert f"its videos: {videos / 'c.mp4'} changed, came or went" in capsys.readouterr().err
    assert sorted(folder_of(out).iterdir()) == before
    assert embed(videos, out, "--restart") == 0
    assert len(read_embeddings(out)) == 5


def test_an_interrupted_restart_continues_too(embed, interrupted, other_run, videos, tmp_path, capsys):
    out = tmp_path / "out.parquet"
    assert embed(videos, out) == 0
    assert embed(videos, out, run=other_run) == 2
    said = capsys.readouterr().err
    assert "is there and differs in the weights of the encoder; replace it with --restart" in said
    interrupted(videos, out, "--restart", run=other_run)
    capsys.readouterr()
    assert embed(videos, out, "--restart", run=other_run) == 0
    assert "continues: 1 of 3 parts" in capsys.readouterr().out
    assert embed(videos, out, run=other_run) == 0
    assert "5 videos unchanged" in capsys.readouterr().out


def test_parts_that_were_not_removed_do_not_hinder(embed, videos, tmp_path, monkeypatch):
    out = tmp_path / "out.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "remove", lambda self: None)
        assert embed(videos, out) == 0
    assert folder_of(out).exists()
    write_video(videos / "f.mp4", 44)
    assert embed(videos, out) == 0
    assert len(read_embeddings(out)) == 6
    assert not folder_of(out).exists()


def test_one_process_at_a_time(embed, videos, tmp_path, capsys):
    from bodvcl.runs.lock import locked

    out = tmp_path / "out.parquet"
    folder_of(out).mkdir()
    with locked(folder_of(out)):
        assert embed(videos, out) == 2
    assert "is being written by process" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_command_continues(encoder_run, videos, embed, tmp_path, monkeypatch):
    """SIGKILL at some point of a real process, then the same command."""
    for number in range(400):
        shutil.copy(videos / "abcde"[number % 5].__add__(".mp4"), videos / f"{number:03d}.mp4")
        with open(videos / f"{number:03d}.mp4", "ab") as file:
            file.write(b"\0" * (number + 8))  # no two files are copies
    out = tmp_path / "out.parquet"
    options = ["--checkpoint", str(encoder_run), "--out", str(out), "--workers", "1", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bodvcl", "embed", str(videos), *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while process.poll() is None and not list(folder_of(out).glob("0*.safetensors")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    assert embed(videos, out) == 0
    assert embed(videos, tmp_path / "whole.parquet") == 0
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.slow
def test_two_processes_write_the_file_of_one(encoder_run, videos, embed, tmp_path):
    options = [
        str(videos), "--checkpoint", str(encoder_run), "--workers", "0", "--device", "cpu", "--window", "0.3",
        "--step", "0.02", "--out",
    ]  # fmt: skip
    ended = processes.finish(processes.start([*options, str(tmp_path / "two.parquet")], verb="embed"))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert "windows of 0.3 s" in ended[0][1]
    assert ended[1][1] == ""
    assert embed(videos, tmp_path / "one.parquet", "--window", "0.3", "--step", "0.02") == 0
    assert (tmp_path / "two.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert len(read_embeddings(tmp_path / "one.parquet")) > 128  # more than one part
