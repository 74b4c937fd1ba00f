"""The verb: every check in a process of its own, exit codes, JSON, several ranks."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from patience import LONG, wait_until
from processes import finish, start

from bodvcl.cli.main import main
from bodvcl.doctor import ranks as comparing
from bodvcl.doctor import together
from bodvcl.doctor.apart import run_apart
from bodvcl.doctor.checks import CHECKS, NAMES, Check
from bodvcl.doctor.outcome import Finding, failed, ok, warning
from bodvcl.doctor.place import slurm_variables
from bodvcl.doctor.ranks import Meeting, Member, judge_ranks
from bodvcl.doctor.report import SCHEMA, last_line, unfit_hosts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def doctor(capsys, *options: str) -> tuple[int, str]:
    """Exit code and output of the verb in this process."""
    code = main(["doctor", *options])
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, captured.out


def replaced(monkeypatch, name: str, function) -> None:
    """Let a check of this name do something else."""
    made = [_Instead(c.name, c.place, function) if c.name == name else c for c in CHECKS]
    monkeypatch.setattr("bodvcl.doctor.checks.CHECKS", tuple(made))


class _Instead(Check):
    def __init__(self, name, place, function):
        super().__init__(name, place)
        object.__setattr__(self, "function", function)

    def __call__(self, node):
        return self.function()


# ------------------------------------------------------------------ a check in its own process


def hang(place: Path):
    place.write_text(str(os.getpid()))
    time.sleep(1000)


def test_a_check_that_hangs_is_ended(tmp_path):
    outcome = run_apart(functools.partial(hang, tmp_path / "pid"), 0.5)
    assert outcome.verdict == "failed"
    assert "no answer within" in outcome.seen
    number = int((tmp_path / "pid").read_text())
    wait_until(lambda: not Path(f"/proc/{number}").exists())


def hang_with_files(place: Path):
    with tempfile.TemporaryDirectory(dir=place):
        time.sleep(1000)


def test_a_check_that_is_ended_removes_its_files(tmp_path):
    assert run_apart(functools.partial(hang_with_files, tmp_path), 0.5).verdict == "failed"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGKILL, signal.SIGTERM])
def test_a_doctor_that_is_ended_leaves_nothing_behind(tmp_path, how):
    """Neither the process that reads while files are replaced, nor their folder."""
    command = [sys.executable, "-m", "bodvcl", "doctor", "--only", "rename", "--run-dir", str(tmp_path)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    wait_until(lambda: list(tmp_path.iterdir()), lambda: running.poll() is not None, 0.01)
    running.send_signal(how)
    running.wait()
    wait_until(lambda: not users_of(tmp_path) and not list(tmp_path.iterdir()))


def users_of(place: Path) -> list[Path]:
    """Processes that have the place in their command line, as a doctor and its children have."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(place).encode() in (process / "cmdline").read_bytes():
                found.append(process)
    return found


def test_a_process_that_hangs_in_a_collective_is_named(monkeypatch, capsys):
    right = together._added_up

    def asleep(backend, rank, size, place, seconds):
        if rank == 1:
            time.sleep(1000)
        return right(backend, rank, size, place, seconds)

    monkeypatch.setattr(together, "_added_up", asleep)
    code, out = doctor(capsys, "--only", "gloo", "--seconds", "16")
    assert code == 1
    assert re.search(r"^failed +gloo +gloo between 2 processes: process 0: ", out, re.MULTILINE)
    assert "GLOO_SOCKET_IFNAME" in out


def test_a_run_folder_that_a_training_could_not_make(tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for folder, said in (
        ("file/sub/run", "file is not a folder"),
        ("nowhere", "is a link that leads nowhere"),
    ):
        code, out = doctor(capsys, "--only", "run-folder", "--run-dir", str(tmp_path / folder))
        assert code == 1
        assert said in out
        assert doctor(capsys, "--only", "write-speed", "--run-dir", str(tmp_path / folder))[0] == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_a_check_that_cannot_start(monkeypatch):
    def refuse(name):
        raise OSError(24, "Too many open files")

    assert "time for all checks is used up" in run_apart(lambda: ok("x"), 0).seen
    monkeypatch.setattr("os.memfd_create", refuse)
    outcome = run_apart(lambda: ok("x"), 30)
    assert outcome.verdict == "failed"
    assert "Too many open files: raise the limit with `ulimit -n`" in outcome.seen


def crash():
    faulthandler.disable()  # pytest's would write where the test's reader looks
    os.write(2, b"first line\nillegal instruction in libfast.so\n")
    os.kill(os.getpid(), signal.SIGILL)


def test_a_check_that_crashes_tells_its_last_words(capfd):
    outcome = run_apart(crash, 30)
    assert outcome.verdict == "failed"
    assert "SIGILL" in outcome.seen
    assert "illegal instruction in libfast.so" in outcome.seen
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("No module named 'av'", name="av"), "av cannot be imported"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (ValueError("first\nsecond"), "ValueError: first"),
        (torch.OutOfMemoryError("CUDA out of memory"), "the memory of the GPU is full"),
    ],
)
def test_a_check_that_raises(error, said):
    def check():
        raise error

    outcome = run_apart(check, 30)
    assert outcome.verdict == "failed"
    assert said in outcome.seen
    assert outcome.remedy


# ------------------------------------------------------------------ the verb


def test_the_whole_of_it(tmp_path, capsys):
    code, out = doctor(capsys, "--json", "--run-dir", str(tmp_path / "run"), "--data", "shapes")
    told = json.loads(out)
    found = {finding["check"]: finding for finding in told["findings"]}
    assert tuple(found) == NAMES
    assert found["ranks"]["verdict"] == "skipped"
    for name in ("packages", "glibc", "torch", "operators-cpu", "gloo", "pyav", "rename", "locks", "data"):
        assert found[name]["verdict"] in ("ok", "warning"), found[name]
    assert told["fit"] == (code == 0)
    assert told["verdict"] in ("ok", "warning", "failed")
    assert list(tmp_path.iterdir()) == []


def test_one_check_that_fails_does_not_hide_the_others(monkeypatch, capsys):
    replaced(monkeypatch, "pyav", lambda: failed("no decoder", "install one"))
    code, out = doctor(capsys, "--only", "limits", "pyav", "glibc")
    assert code == 1
    lines = out.splitlines()
    assert [line.split()[1] for line in lines[:-1] if line[0] != " "] == ["glibc", "pyav", "limits"]
    assert re.search(r"^failed +pyav +no decoder$", out, re.MULTILINE)
    assert re.search(r"^ +-> install one$", out, re.MULTILINE)
    assert lines[-1] == "not fit for training, 1 check failed: pyav"


def test_ranks_that_nothing_compares_are_told(monkeypatch, capsys):
    code, out = doctor(capsys, "--only", "ranks")
    assert code == 0
    assert re.search(r"^skipped +ranks +one process, started alone$", out, re.MULTILINE)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "16")
    code, out = doctor(capsys, "--only", "ranks")
    assert (code, out.splitlines()[-1]) == (0, "fit for training, 1 warning")
    assert "the 16 tasks of this step of Slurm are not compared" in out
    assert "export MASTER_ADDR and MASTER_PORT before srun" in out


def test_a_variable_of_slurm_that_is_no_number(monkeypatch, capsys):
    for name, text in (("SLURM_STEP_NUM_TASKS", "2"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("SLURM_NODEID", "x")
    assert main(["doctor", "--only", "ranks"]) == 2
    assert "SLURM_NODEID=x: expected a number" in capsys.readouterr().err


def test_the_machines_that_are_not_fit_are_named():
    bad = [Finding("limits", "failed", "64 open files", "raise it", 0.1, host) for host in ("n2", "n3")]
    fine = Finding("limits", "ok", "20000 open files", "", 0.1, "n1")
    differ = Finding("ranks", "failed", "commit is a on n1, b on n2", "install it again", 0.1, "n1")
    assert last_line([fine, *bad], False) == "not fit for training, 2 checks failed: limits on n2 and n3"
    assert last_line([fine, *bad, differ], False).endswith("3 checks failed: limits on n2 and n3, ranks")
    assert last_line(bad[:1], False) == "not fit for training, 1 check failed: limits"
    assert unfit_hosts([fine, *bad, differ]) == ["n2", "n3"]
    assert unfit_hosts([fine, differ]) == []


def test_a_rank_without_the_others_tells_what_it_has_found(monkeypatch, capsys):
    def nobody(*_):
        raise RuntimeError("timed out\nat socket.cpp")

    replaced(monkeypatch, "glibc", lambda: failed("too old", "renew it"))
    monkeypatch.setattr(comparing, "meet", nobody)
    places = {"RANK": "8", "WORLD_SIZE": "16", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "8"}
    for name, text in {**places, "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("SLURMD_NODENAME", "node2")
    code, out = doctor(capsys, "--only", "glibc", "ranks")
    assert code == 1
    assert re.search(r"^node2: failed +glibc +too old$", out, re.MULTILINE)
    assert re.search(r"^node2: failed +ranks +the ranks cannot meet at .*: timed out$", out, re.MULTILINE)


def test_a_signal_ends_a_rank_that_waits():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        places = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
        places["MASTER_PORT"] = str(silent.getsockname()[1])
        command = [sys.executable, "-m", "bodvcl", "doctor", "--only", "ranks"]
        rank = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **places}, stderr=subprocess.PIPE)
        with silent.accept()[0]:
            rank.terminate()
            assert rank.communicate()[1] == b""
    assert rank.returncode == -signal.SIGTERM


def test_a_pytorch_that_lacks_a_library_is_a_finding_and_no_traceback(monkeypatch, capsys):
    def lacks():
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr("bodvcl.cli.doctor.several_ranks", lacks)
    code, out = doctor(capsys, "--only", "glibc")
    assert (code, out.splitlines()[-1]) == (0, "fit for training")


def test_warnings_are_allowed_unless_strict(monkeypatch, capsys):
    replaced(monkeypatch, "glibc", lambda: warning("old", "renew it"))
    code, out = doctor(capsys, "--only", "glibc")
    assert (code, out.splitlines()[-1]) == (0, "fit for training, 1 warning")
    code, out = doctor(capsys, "--only", "glibc", "--strict")
    assert (code, out.splitlines()[-1]) == (1, "not fit for training, 1 warning, not allowed by --strict")
    code, out = doctor(capsys, "--only", "glibc", "--strict", "--json")
    assert code == 1
    assert json.loads(out)["fit"] is False


def test_a_hanging_check_does_not_hide_the_others(monkeypatch, capsys):
    replaced(monkeypatch, "glibc", lambda: time.sleep(1000))
    code, out = doctor(capsys, "--only", "packages", "glibc", "limits", "--seconds", "4")
    assert code == 1
    assert "no answer within 1 seconds" in out
    assert [line.split()[1] for line in out.splitlines() if line[0] != " "][:3] == [
        "packages",
        "glibc",
        "limits",
    ]


def test_without_pytorch_the_rest_is_checked(monkeypatch, capsys):
    replaced(monkeypatch, "torch", lambda: failed("torch cannot be imported", "install it"))
    code, out = doctor(capsys, "--only", "torch", "gloo", "limits")
    assert code == 1
    assert re.search(r"skipped +gloo +PyTorch cannot be used", out)
    assert re.search(r"ok +limits", out)


def test_a_missing_package(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    code, out = doctor(capsys, "--only", "pyav", "limits")
    assert code == 1
    assert "av cannot be imported" in out
    assert re.search(r"ok +limits", out)


def test_bad_use(capsys):
    assert main(["doctor", "--only", "glib"]) == 2
    assert "no such check (did you mean glibc?)" in capsys.readouterr().err
    assert main(["doctor", "--seconds", "0"]) == 2
    assert "--seconds" in capsys.readouterr().err


@pytest.mark.parametrize(("redirection", "code"), [(">&-", 0), ("> >(true)", 141), (">/dev/full", 2)])
def test_closed_output(redirection, code):
    command = f"exec {sys.executable} -m bodvcl doctor --only limits glibc {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(tmp_path):
    count = torch.cuda.device_count()
    command = [
        sys.executable,
        "-m",
        "bodvcl",
        "doctor",
        "--json",
        "--gpus",
        str(count),
        "--run-dir",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    found = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    for name in ("driver", "gpus", "operators-gpu"):
        assert found[name]["verdict"] in ("ok", "warning"), found[name]
    assert found["nccl"]["verdict"] == ("ok" if count > 1 else "skipped"), found["nccl"]


# ------------------------------------------------------------------ processes of one machine


def test_processes_that_cannot_add_up(monkeypatch):
    right = together._added_up

    def wrong(backend, rank, size, place, seconds):
        if rank == 1:
            raise RuntimeError("connection refused\nmore")
        return right(backend, rank, size, place, seconds)

    monkeypatch.setattr(together, "_added_up", wrong)
    outcome = together.all_reduce("gloo", 2, 20)
    assert outcome.verdict == "failed"
    assert "process 1: connection refused" in outcome.seen
    assert "GLOO_SOCKET_IFNAME" in outcome.remedy


def test_a_process_that_ends_without_a_word(monkeypatch):
    monkeypatch.setattr(together, "_one", lambda *_: None)
    assert "process 0: ended without a message" in together.all_reduce("nccl", 2, 20).seen


# ------------------------------------------------------------------ ranks


SOFTWARE = {"bodvcl": "0.1.0", "commit": "abc", "libraries": "1", "torch": "2.14.1", "python": "3.11.7"}


def member(rank: int, clock: float = 0.0, **software: str) -> Member:
    return Member(rank, f"node{rank}", clock, SOFTWARE | software, [])


def test_ranks_that_agree():
    assert judge_ranks([member(0), member(1, 0.004)]) == ok(
        "2 ranks on 2 hosts: same software, clocks within 4 ms"
    )


@pytest.mark.parametrize(
    ("other", "verdict", "said"),
    [
        (member(1, 5.0), "warning", "node1 +5.0 s"),
        (member(1, -5.0), "warning", "chronyd"),
        (member(1, commit="abd"), "failed", "commit is abc on node0, abd on node1"),
        (member(1, libraries="2"), "failed", "libraries is 1 on node0"),
        (member(1, torch="2.13.0"), "failed", "torch is 2.14.1"),
        (member(1, python="3.12.1"), "warning", "python is 3.11.7 on node0, 3.12.1 on node1"),
    ],
)
def test_ranks_that_differ(other, verdict, said):
    outcome = judge_ranks([member(0), other, member(2)])
    assert outcome.verdict == verdict
    assert said in f"{outcome.seen} | {outcome.remedy}"


@pytest.mark.parametrize(
    ("commits", "verdict", "said"),
    [
        (["f884e1c", "f884e1caa3c6"], "ok", "same software"),  # git of old, and a wheel
        (["f884e1caa3c6", "f884e1c"], "ok", "same software"),
        (["f884e1c-dirty", "f884e1caa3c6-dirty"], "ok", "same software"),
        (["f884e1c", "f884e1caa3c6-dirty"], "failed", "f884e1caa3c6-dirty on node1"),
        (["f884e1caa3c6", "unknown"], "warning", "f884e1caa3c6 on node0, unknown on node1"),
        (["unknown", "f884e1caa3c6"], "warning", "f884e1caa3c6 on node1, unknown on node0"),
        (["unknown", "unknown"], "ok", "same software"),
        (
            ["unknown", "f884e1caa3c6", "abd4e1caa3c6"],
            "failed",
            "f884e1caa3c6 on node1, abd4e1caa3c6 on node2",
        ),
        (["f884e1c", "unknown", "abd"], "failed", "f884e1c on node0, abd on node2"),
        (["f884e1c", "abd", "abe"], "failed", "abd on node1 and 1 more host"),
    ],
)
def test_commits_of_ranks(commits, verdict, said):
    """Only another commit fails: not one with fewer digits, and not one that git does not tell."""
    outcome = judge_ranks([member(rank, commit=commit) for rank, commit in enumerate(commits)])
    assert outcome.verdict == verdict
    assert said in outcome.seen


class _Clock:
    """A clock that is five seconds ahead in one thread."""

    @staticmethod
    def time() -> float:
        return time.time() + (5.0 if threading.current_thread().name == "late" else 0.0)


def test_a_rank_with_another_clock_brings_its_findings(monkeypatch):
    monkeypatch.setattr(comparing, "time", _Clock)
    store = dist.HashStore()
    finding = Finding("limits", "failed", "64 open files", "raise it", 0.1, "node1")
    other = Meeting(store, 1, 2, 60)
    codes = []

    def late() -> None:
        assert other.bring([finding]) is None
        codes.append(other.conclude(None))

    thread = threading.Thread(target=late, name="late")
    thread.start()
    first = Meeting(store, 0, 2, 60)
    members = first.bring([])
    assert members is not None
    assert members[1].findings == [finding]
    assert 4.9 < members[1].clock < 5.1
    assert members[0].software == members[1].software
    assert first.conclude(1) == 1
    thread.join()
    assert codes == [1]


def test_a_step_of_slurm():
    step = {"SLURM_STEP_NUM_TASKS": "12", "SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}
    step["SLURM_STEP_TASKS_PER_NODE"] = "8,4"
    assert slurm_variables(step) == {}  # each task alone: nothing says where to meet
    meets = {"MASTER_ADDR": "node0", "MASTER_PORT": "29500"}
    expected = {"RANK": "9", "WORLD_SIZE": "12", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert slurm_variables(step | meets) == expected
    assert slurm_variables(step | meets | {"SLURM_STEP_TASKS_PER_NODE": "6(x2)"})["LOCAL_WORLD_SIZE"] == "6"
    assert slurm_variables(step | meets | {"RANK": "3"}) == {}
    assert (
        slurm_variables({"SLURM_NTASKS": "12", "SLURM_PROCID": "0"} | meets) == {}
    )  # the batch script itself


@pytest.mark.slow
def test_two_ranks_end_with_the_joint_result():
    """The second rank finds nothing wrong with itself, and fails with the first."""
    options = ["--only", "run-folder", "ranks", "limits", "--run-dir", "/proc/1/x"]
    (code, out, err), other = finish(start(options, verb="doctor"))
    assert (code, err) == (1, "")
    assert other == (1, "", "")
    assert re.search(r"^ok +ranks +2 ranks on 1 host: same software, clocks within", out, re.MULTILINE)
    assert out.count("run-folder") == 2
    assert out.splitlines()[-1] == "not fit for training, 1 check failed: run-folder"


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="mounting needs root")
@pytest.mark.parametrize("how", ["ro", pytest.param("size=64m", marks=LONG)])
def test_a_container_with_poor_shared_memory(how, tmp_path):
    inside = f'mount -t tmpfs -o {how} t /dev/shm && ulimit -n 64 && exec "$@"'
    options = ["--json", "--only", "limits", "shared-memory", "gloo", "rename", "--run-dir", str(tmp_path)]
    command = [
        "unshare",
        "-m",
        "bash",
        "-c",
        inside,
        "bash",
        sys.executable,
        "-m",
        "bodvcl",
        "doctor",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if "permission denied" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("this root may not mount")
    assert (done.returncode, done.stderr) == (1, "")
    found = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["shared-memory"]["verdict"] == "warning", found
    assert found["limits"]["verdict"] == "failed"
    assert found["gloo"]["verdict"] == found["rename"]["verdict"] == "ok", found


# ------------------------------------------------------------------ the page


def test_the_page_has_every_check_and_field():
    page = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)
    fields = [*Finding.__dataclass_fields__, "schema", "bodvcl", "commit", "fit", "ranks", "findings"]
    assert [name for name in rows if name in NAMES and name not in fields] == [
        n for n in NAMES if n not in fields
    ]
    assert {*fields} <= {*rows}
    shown = set(re.findall(r"^(?:ok|skipped|warning|failed) +([a-z-]+) ", page, re.MULTILINE))
    assert shown == {*NAMES}
    assert f'"schema": {SCHEMA}' in page
