"""The check of a GPU machine: a step that crashes, hangs or is killed takes no other result along."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from bench.gpu import results
from bench.gpu.__main__ import LEAST, RESERVE, environment, parse, run
from bench.gpu.fetch import pinned, split
from bench.gpu.package import fingerprint, joined, why_not
from bench.gpu.process import run_limited
from bench.gpu.steps import STEPS, Machine, Step, bench_file, chosen, gpu, module, package, real_gpu, tool
from bench.gpu.trace import idle_share

ROOT = Path(__file__).parents[2]

CRASHES = "import os, signal; print('before the crash', flush=True); os.kill(os.getpid(), signal.SIGSEGV)"
HANGS = """
import signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
open(sys.argv[1] + '/child', 'w').write(str(child.pid))
print('hangs', flush=True)
time.sleep(600)
"""
WRITES = (
    "import sys, json; json.dump({'figure': 7}, open(sys.argv[1] + '/figures.json', 'w')); print('wrote')"
)
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def step(name: str, code: str, seconds: int = 20, needs=()) -> Step:
    return Step(
        name, "something", seconds, lambda m, folder: [sys.executable, "-c", code, str(folder)], needs
    )


@pytest.fixture
def machine(tmp_path):
    return Machine(sys.executable, tmp_path / "work", "", "", True, set())


def check(machine, out, steps, seconds=300.0):
    out.mkdir(exist_ok=True)

    def save(found):
        results.save(out, machine.work, machine.gpu, "abc", found)

    found = run(steps, machine, seconds, save, environment(machine))
    record = json.loads(next(out.glob("*.json")).read_text())
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        logs = {
            n: archive.extractfile(n).read().decode() for n in archive.getnames() if n.endswith("log.txt")
        }
    return found, {entry["name"]: entry for entry in record["steps"]}, logs


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_every_other_step_survives(machine, tmp_path):
    steps = [
        step("first", WRITES),
        step("crashes", CRASHES),
        step("hangs", HANGS, seconds=3),
        step("killed", KILLED),
        step("fails", "raise SystemExit(3)"),
        step("last", WRITES),
    ]
    _, record, logs = check(machine, tmp_path / "out", steps)
    words = {name: entry["word"] for name, entry in record.items()}
    assert list(words.values()) == ["ok", "crashed", "timeout", "crashed", "failed", "ok"]
    assert "SIGSEGV" in record["crashes"]["reason"]
    assert "SIGKILL" in record["killed"]["reason"]
    assert "exit code 3" in record["fails"]["reason"]
    assert "had to be killed" in record["hangs"]["reason"]
    assert record["first"]["figures"] == record["last"]["figures"] == {"figure": 7}
    assert "before the crash" in logs["crashes/log.txt"]
    assert "hangs" in logs["hangs/log.txt"]
    assert not alive(int((machine.work / "steps/hangs/child").read_text()))
    assert machine.done == {"first", "last"}


def test_results_are_there_before_the_next_step_begins(machine, tmp_path):
    out = tmp_path / "out"
    look = f"""
import glob, json
file = glob.glob({str(out)!r} + '/*.json')[0]
print(json.load(open(file))['steps'][0]['figures'])
"""
    _, _, logs = check(machine, out, [step("first", WRITES), step("looks", look)])
    assert "{'figure': 7}" in logs["looks/log.txt"]


def test_a_killed_session_of_benchmarks_keeps_what_it_had_finished(machine, tmp_path):
    program = tmp_path / "test_two.py"
    program.write_text(
        f"import os, signal, sys\nsys.path.insert(0, {str(ROOT / 'bench')!r})\nfrom conftest import _kept\n"
        "def test_done(benchmark):\n    benchmark.extra_info['ratio'] = 3.0\n    benchmark(sum, [1])\n"
        "def test_killed(benchmark):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    line = ["-m", "pytest", "-q", str(program), "-p", "no:cacheprovider"]
    killed = Step(
        "killed", "something", 60, lambda m, f: [sys.executable, *line, f"--benchmark-json={f}/bench.json"]
    )
    _, record, _ = check(machine, tmp_path / "out", [killed])
    assert record["killed"]["word"] == "crashed"
    [kept] = record["killed"]["benchmarks"]
    assert kept["name"] == "test_done"
    assert kept["extra"]["ratio"] == 3.0
    assert kept["seconds"]["rounds"] > 0


def test_a_step_without_what_it_needs_is_skipped_with_the_reason(machine, tmp_path):
    steps = [
        step("gpu", WRITES, needs=(real_gpu,)),
        step("tool", WRITES, needs=(tool("no-such-tool"),)),
        step("module", WRITES, needs=(module("no_such.module", " (get it)"),)),
        step("package", WRITES, needs=(package,)),
        step("file", WRITES, needs=(bench_file("test_nothing.py"),)),
        step("runs", WRITES, needs=(gpu,)),
    ]
    _, record, _ = check(machine, tmp_path / "out", steps)
    assert [entry["word"] for entry in record.values()] == ["skipped"] * 5 + ["ok"]
    assert record["gpu"]["reason"] == "PyTorch sees no CUDA device"
    assert record["tool"]["reason"] == "no-such-tool is not installed"
    assert record["module"]["reason"] == "the Python package no_such.module is not installed (get it)"


def test_a_program_that_is_not_there_is_said(tmp_path):
    outcome = run_limited(["/no/such/program"], 5, tmp_path / "log.txt", dict(os.environ))
    assert outcome.word == "failed"
    assert "/no/such/program" in outcome.reason


def test_the_budget_ends_the_check(machine, tmp_path):
    """The first step is cut short, and nothing is begun in the seconds that are left."""
    sleeps = step("sleeps", "import time; time.sleep(600)", seconds=500)
    start = time.monotonic()
    _, record, _ = check(machine, tmp_path / "out", [sleeps, step("later", WRITES)], RESERVE + LEAST + 1)
    assert record["sleeps"]["word"] == "timeout"
    assert (record["later"]["word"], record["later"]["reason"]) == ("skipped", "no time was left")
    assert time.monotonic() - start < 120


def test_an_interrupted_step_can_still_write(machine, tmp_path):
    code = "import sys, time\ntry:\n time.sleep(600)\nexcept KeyboardInterrupt:\n " + WRITES.replace(
        "; ", "; "
    )
    _, record, _ = check(machine, tmp_path / "out", [step("late", code, seconds=3)])
    assert record["late"]["word"] == "timeout"
    assert record["late"]["figures"] == {"figure": 7}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_check_can_be_stopped(tmp_path, number):
    """What was found is written, the running step ends, and the exit code is 1."""
    program = f"""
import sys
sys.path.append({str(ROOT)!r})
import bench.gpu.__main__ as check
from bench.gpu.steps import Step
def step(name, code):
    return Step(name, "something", 400, lambda m, folder: [sys.executable, "-c", code, str(folder)])
steps = [step("first", {WRITES!r}), step("sleeps", {HANGS!r}), step("later", {WRITES!r})]
check.chosen = lambda only, start: steps
check.look = lambda python: ("", "")
sys.exit(check.main([{str(tmp_path)!r}, "--anyway"]))
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while time.monotonic() < limit and "first" not in (line := process.stdout.readline()):
        assert line, "the check ended before its first step"
    time.sleep(2)
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    record = json.loads(next(tmp_path.glob("*.json")).read_text())["steps"]
    assert [entry["word"] for entry in record] == ["ok", "stopped", "skipped"]
    assert record[0]["figures"] == {"figure": 7}
    assert "the check was stopped" in out


def test_choice_of_steps():
    names = [s.name for s in STEPS]
    assert len(set(names)) == len(names)
    assert [s.name for s in chosen([], None)] == names
    assert [s.name for s in chosen(["train"], None)] == ["machine", "package", "train"]
    assert [s.name for s in chosen([], "trace")] == ["machine", "package", *names[names.index("trace") :]]
    assert [s.name for s in chosen(["smoke", "dali"], "trace")] == ["machine", "package", "dali"]


@pytest.mark.parametrize("argv", [["--only", "nothing"], ["--from", "nothing"], ["--seconds", "3"]])
def test_wrong_options_name_what_is_possible(argv, capsys):
    with pytest.raises(SystemExit) as raised:
        parse(argv)
    assert raised.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert ("machine, package, smoke" in last) == (argv[0] != "--seconds")


def test_the_idle_share_counts_overlaps_once():
    assert idle_share([(0, 2), (1, 3), (5, 6), (1, 2)]) == pytest.approx(2 / 6)
    assert idle_share([(4, 5)]) == 0
    assert idle_share([]) == 1


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch, capsys):
    import bench.gpu.__main__ as main

    monkeypatch.delenv("GPU_CHECK_ANYWAY", raising=False)
    monkeypatch.setattr(main, "look", lambda python: ("", ""))
    assert main.main([str(tmp_path / "out")]) == 1
    assert "no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_summary_is_short_and_names_what_failed(machine, tmp_path):
    write = "import sys; open(sys.argv[1] + '/tests.xml', 'w').write({!r}); raise SystemExit(1)"
    case = "<testcase classname='t' name='n{0}'><failure message='wrong by {0}'/></testcase>"
    many = "".join(case.format(i) for i in range(200))
    suite = f"<testsuites><testsuite tests='200' failures='200'>{many}</testsuite></testsuites>"
    figures = WRITES.replace("{'figure': 7}", "{f'figure {i}': i for i in range(100)}")
    steps = [step(f"bad{i}", write.format(suite)) for i in range(6)]
    steps += [step(f"good{i}", figures) for i in range(6)]
    found, record, _ = check(machine, tmp_path / "out", steps)
    text = results.summary(tmp_path / "out", machine.work, "", found)
    assert len(text.splitlines()) <= results.LINES
    assert "t::n0: wrong by 0" in text
    assert "figure 0: 0" in text
    assert all(f"failed   bad{i}" in text for i in range(6))
    assert record["bad0"]["tests"]["failures"] == 200


def test_a_wheel_travels_in_parts(tmp_path):
    whole = os.urandom(100_000)
    (tmp_path / "a-1-py3-none-any.whl").write_bytes(whole)
    parts = split(tmp_path / "a-1-py3-none-any.whl", size=30_000)
    assert len(parts) == 4
    into = tmp_path / "into"
    into.mkdir()
    [again] = joined(tmp_path, into)
    assert again.name == "a-1-py3-none-any.whl"
    assert again.read_bytes() == whole


def test_a_missing_part_is_named(tmp_path, capsys):
    (tmp_path / "a.whl").write_bytes(b"12345678")
    parts = split(tmp_path / "a.whl", size=3)
    parts[1].unlink()
    assert joined(tmp_path, tmp_path) == []
    assert "1of3" in capsys.readouterr().out


def test_a_brought_wheel_must_be_of_these_sources_and_for_this_gpu(tmp_path):
    wheel = tmp_path / "bodvcl-0.1.0-py3-none-linux_x86_64.whl"
    assert "no wheel" in why_not(None, "90")
    assert "other sources" in why_not(wheel, "90")
    (tmp_path / "bodvcl.json").write_text(json.dumps({"sources": fingerprint(), "archs": ["90"]}))
    assert why_not(wheel, "90") == ""
    assert "sm_80" in why_not(wheel, "80")


def test_a_changed_source_changes_the_fingerprint(tmp_path):
    (tmp_path / "csrc").mkdir()
    (tmp_path / "csrc/a.h").write_text("1")
    before = fingerprint(tmp_path)
    (tmp_path / "csrc/a.h").write_text("2")
    assert fingerprint(tmp_path) != before


def test_versions_come_from_the_lock():
    versions = pinned(ROOT / ".ci/lock/gpu_image.txt")
    from bench.gpu.fetch import PACKAGES

    assert set(PACKAGES) <= set(versions)
    assert versions["av"].startswith("18.")
