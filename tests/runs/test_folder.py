"""The folder of a run: every run has one of its own, and one process at a time writes it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import processes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodvcl.cli.train import main
from bodvcl.errors import DataError, UserError
from bodvcl.runs.folder import newest_run, open_run_dir
from bodvcl.runs.lock import LOCK, Holder, locked, refuse_locked

QUIET = ["--log.no-probe", "--log.no-report"]
FORK = multiprocessing.get_context("fork")


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def begin(run: Path | None) -> None:
    with open_run_dir(run, "x", resume=False):
        pass


@contextlib.contextmanager
def held_elsewhere(run: Path, program: str = "") -> object:
    """A process that holds the lock of a run, and does what ``program`` says before it waits."""
    source = (
        "import os, pathlib, sys, time\nfrom bodvcl.runs.lock import locked\n"
        f"with locked(pathlib.Path({str(run)!r})):\n    {program or 'pass'}\n"
        "    print('held', flush=True)\n    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_run_folder_is_not_overwritten(tmp_path):
    with open_run_dir(tmp_path / "r", "x", resume=False) as run:
        (run / "config.yaml").write_text("seed: 0\n")
    before = contents(run)
    with pytest.raises(UserError, match="already holds a run: continue it with --resume"):
        begin(run)
    assert contents(run) == before
    with open_run_dir(run, "x", resume=True) as again:
        assert again == run
    assert newest_run(tmp_path) == run
    assert newest_run(tmp_path / "nothing") is None


def test_a_fine_tuning_is_not_the_newest_pre_training(tmp_path):
    for name, text in (("first", "data: shapes\n"), ("tuned", "run_dir: x\ncheckpoint: scratch\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
        os.utime(tmp_path / name / "config.yaml", (1000, 1000 if name == "first" else 2000))
    assert newest_run(tmp_path) == tmp_path / "first"
    (tmp_path / "first" / "config.yaml").unlink()
    assert newest_run(tmp_path) is None


@pytest.mark.parametrize("blocked", ["file", "file/run"])
def test_a_run_folder_that_cannot_be_written_is_named(tmp_path, blocked):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file"):
        begin(tmp_path / blocked)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_where_no_folder_for_runs_can_be_made_that_is_said(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    Path("runs").symlink_to("nowhere") if kind == "link" else Path("runs").write_text("")
    with pytest.raises(UserError, match="cannot write to runs"):
        begin(None)


def _begin(together, opened, wait) -> None:
    time.strftime = lambda *_: "20260101-000000"
    together.wait()
    with open_run_dir(None, "x", resume=False) as run:
        opened.put(str(run))
        wait.wait()


@pytest.mark.parametrize("number", [2, 7])
@pytest.mark.parametrize("taken", [[], ["x"], ["x", "x-2", "x-4"]])
def test_runs_that_begin_at_the_same_time_have_a_folder_each(tmp_path, monkeypatch, number, taken):
    monkeypatch.chdir(tmp_path)
    for name in taken:
        Path(f"runs/20260101-000000-{name}").mkdir(parents=True)
    together, opened, wait = FORK.Barrier(number), FORK.Queue(), FORK.Event()
    processes = [FORK.Process(target=_begin, args=(together, opened, wait)) for _ in range(number)]
    for process in processes:
        process.start()
    folders = {opened.get() for _ in processes}
    wait.set()
    for process in processes:
        process.join()
    assert len(folders) == number
    assert not folders & {f"runs/20260101-000000-{name}" for name in taken}
    assert all(Path(folder, "checkpoint").is_dir() for folder in folders)
    assert len(list(Path("runs").iterdir())) == number + len(taken)


def test_a_folder_that_a_process_writes_is_refused_and_not_altered(tmp_path):
    with held_elsewhere(tmp_path) as process:
        before = contents(tmp_path)
        for resume in (False, True):
            with pytest.raises(UserError) as refusal, open_run_dir(tmp_path, "x", resume):
                pass
            assert f"is being written by process {process.pid} on {socket.gethostname()}" in str(
                refusal.value
            )
            assert f"kill {process.pid}" in str(refusal.value)
        with pytest.raises(UserError, match=f"process {process.pid} "):
            refuse_locked(tmp_path)
        assert contents(tmp_path) == before
        assert not (tmp_path / "checkpoint").exists()
    refuse_locked(tmp_path)


def test_a_process_refuses_itself(tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()} "), locked(tmp_path):
        pass


@pytest.mark.parametrize("error", [None, UserError, SystemExit, KeyboardInterrupt])
def test_the_lock_is_given_back_however_the_work_ends(tmp_path, error):
    with contextlib.suppress(BaseException), locked(tmp_path):
        if error is not None:
            raise error
    assert (tmp_path / LOCK).read_text() == ""
    with warnings.catch_warnings(), locked(tmp_path):
        warnings.simplefilter("error")


@pytest.mark.parametrize("program", ["", "os.fork() or time.sleep(1) or os._exit(0)"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_killed_process_is_no_obstacle(tmp_path, program, number):
    """Also while a process that it had started still lives."""
    with held_elsewhere(tmp_path, program) as process:
        process.send_signal(number)
        process.wait()
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == process.pid
        with warnings.catch_warnings(), locked(tmp_path):
            warnings.simplefilter("error")
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def stale(kind: str) -> str:
    here = Holder.here()
    return {
        "nothing": "",
        "no JSON": "{",
        "another JSON": "[1]",
        "other fields": '{"host": "a"}',
        "ended": json.dumps(asdict(replace(here, pid=ended_process()))),
        "another process has the number": json.dumps(asdict(replace(here, started=1))),
    }[kind]


STALE = ("nothing", "no JSON", "another JSON", "other fields", "ended", "another process has the number")
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@pytest.mark.parametrize("kind", STALE)
def test_what_a_dead_process_left_is_no_obstacle(tmp_path, kind):
    (tmp_path / LOCK).write_text(stale(kind))
    refuse_locked(tmp_path)
    with warnings.catch_warnings(), locked(tmp_path):
        warnings.simplefilter("error")


@pytest.mark.parametrize("kind", STALE)
@pytest.mark.parametrize("number", NO_LOCKS)
def test_without_locks_the_run_goes_on_and_that_is_said(tmp_path, monkeypatch, kind, number):
    _without_locks(monkeypatch, number)
    (tmp_path / LOCK).write_text(stale(kind))
    with pytest.warns(UserWarning, match="has no locks .*do not start a second process"), locked(tmp_path):
        pass
    assert (tmp_path / LOCK).read_text() == ""


def test_without_locks_a_process_that_is_seen_to_live_is_refused(tmp_path, monkeypatch):
    _without_locks(monkeypatch, errno.ENOLCK)
    with held_elsewhere(tmp_path) as process, pytest.raises(UserError, match=f"process {process.pid} "):
        begin(tmp_path)
    with pytest.warns(UserWarning, match="has no locks"), locked(tmp_path):
        pass


def test_without_locks_a_process_of_another_machine_is_refused_with_the_remedy(tmp_path, monkeypatch):
    _without_locks(monkeypatch, errno.ENOLCK)
    (tmp_path / LOCK).write_text(json.dumps(asdict(replace(Holder.here(), host="another"))))
    with pytest.raises(UserError, match=r"on another, .*if it has ended, remove .*\.lock"), locked(tmp_path):
        pass
    (tmp_path / LOCK).unlink()
    with pytest.warns(UserWarning, match="has no locks"), locked(tmp_path):
        pass


def test_a_free_lock_that_another_machine_did_not_give_back_is_mentioned(tmp_path):
    (tmp_path / LOCK).write_text(json.dumps(asdict(replace(Holder.here(), host="another"))))
    with pytest.warns(UserWarning, match=f"process {os.getpid()} on another .*stop one of the two"):
        begin(tmp_path)


@given(st.binary(max_size=200))
def test_whatever_the_lock_holds_a_free_one_can_be_taken(text):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / LOCK).write_bytes(text)
        with locked(Path(folder)):
            assert json.loads((Path(folder) / LOCK).read_text())["pid"] == os.getpid()


def _without_locks(monkeypatch, number: int) -> None:
    def flock(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("named", [True, False])
def test_going_on_beside_the_run_that_is_running_is_refused(tiny, tmp_path, monkeypatch, capsys, named):
    """Also where the newest run is meant."""
    monkeypatch.chdir(tmp_path)
    assert main([*tiny, *QUIET, "--max-steps", "1"]) == 0
    (run,) = Path("runs").iterdir()
    options = ["--run-dir", str(run)] if named else []
    with held_elsewhere(run) as process:
        before = contents(run)
        capsys.readouterr()
        assert main(["--resume", *options, "--max-steps", "2"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"{run} is being written by process {process.pid}" in line
        assert contents(run) == before
    assert main(["--resume", *options, "--max-steps", "2"]) == 0


def test_a_run_is_locked_until_its_report_is_written(tiny, tmp_path, monkeypatch):
    seen = {}

    def report(run: Path) -> None:
        with pytest.raises(UserError) as refusal, locked(run):
            pass
        seen["report"] = str(refusal.value)

    monkeypatch.setattr("bodvcl.cli.end_of_run.write_report", report)
    run = tmp_path / "r"
    assert main([*tiny, "--log.no-probe", "--max-steps", "1", "--run-dir", str(run)]) == 0
    assert f"process {os.getpid()} " in seen["report"]
    assert (run / LOCK).read_text() == ""


@pytest.mark.slow
def test_processes_that_train_together_share_one_lock_and_one_refusal(tiny, tmp_path):
    run = tmp_path / "r"
    options = [*tiny, *QUIET, "--max-steps", "1", "--run-dir", str(run)]
    run.mkdir()
    with held_elsewhere(run) as process:
        outcomes = processes.finish(processes.start(options))
    assert [code for code, _, _ in outcomes] == [2, 2]
    assert [f"is being written by process {process.pid}" in err for _, _, err in outcomes] == [True, False]
    assert [code for code, _, _ in processes.finish(processes.start(options))] == [0, 0]
    assert (run / LOCK).read_text() == ""


def test_a_run_that_could_not_begin_leaves_no_folder(tmp_path):
    def begin(folder, *names):
        with open_run_dir(folder, "", resume=False) as run_dir:
            for name in names:
                (run_dir / name).write_text("kept")
            raise DataError("no such data")

    with pytest.raises(DataError):
        begin(tmp_path / "empty")
    with pytest.raises(DataError):
        begin(tmp_path / "begun", "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


def test_a_folder_that_was_there_stays(tmp_path):
    with pytest.raises(DataError), open_run_dir(tmp_path, "", resume=False):
        raise DataError("no such data")
    assert tmp_path.exists()
