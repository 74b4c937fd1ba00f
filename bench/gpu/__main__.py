"""Build, check and measure bodvcl on this machine, step by step.

Each step has its own process and its own limit of time; what it found is in the folder when it ends, whatever
becomes of the next one. Results: gpu-<device>-<date>.json, and the logs as gpu-<device>-<date>-logs.tar.gz.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from bench.gpu import results
from bench.gpu.process import Outcome, run_limited
from bench.gpu.steps import ROOT, STEPS, Machine, Step, chosen

RESERVE = 15.0
"""Seconds of the budget kept for the last interrupt and for writing."""
LEAST = 10.0
"""A step that has fewer seconds is not begun."""

_LOOK = """
import torch
there = torch.cuda.is_available()
print(torch.cuda.get_device_name() if there else "")
print("%d%d" % torch.cuda.get_device_capability() if there else "")
"""


class Stopped(Exception):
    """The check itself was told to stop."""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="steps:\n" + "\n".join(f"  {s.name:18}{s.seconds:4} s  {s.proves}" for s in STEPS),
    )
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "bench/results", metavar="FOLDER",
                        help="where the results go (default: bench/results)")  # fmt: skip
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP", help="these steps alone")
    parser.add_argument("--from", dest="start", metavar="STEP", help="this step and those after it")
    parser.add_argument(
        "--seconds", type=float, default=540.0, help="budget of all steps together (default: 540)"
    )
    parser.add_argument(
        "--commit", help="what is measured, where there is no .git (default: the file COMMIT)"
    )
    parser.add_argument("--anyway", action="store_true", default=bool(os.environ.get("GPU_CHECK_ANYWAY")),
                        help="without a GPU: run what a CPU can, to try the check itself")  # fmt: skip
    options = parser.parse_args(argv)
    if options.seconds <= RESERVE:
        parser.error(f"--seconds is {options.seconds:g}; expected more than {RESERVE:g}")
    try:
        options.steps = chosen(options.only, options.start)
    except ValueError as error:
        parser.error(str(error))
    return options


def look(python: str) -> tuple[str, str]:
    """Name and architecture of the GPU, "" without one or without a PyTorch that sees it."""
    try:
        done = subprocess.run([python, "-c", _LOOK], capture_output=True, text=True, timeout=90, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "", ""
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return (lines[0], lines[1]) if len(lines) == 2 else ("", "")


def environment(machine: Machine) -> dict[str, str]:
    """The environment of the steps: the package in the site folder comes first, the current folder never."""
    env = dict(os.environ)
    paths = [str(machine.work / "site"), *filter(None, [env.get("PYTHONPATH")])]
    return env | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "BODVCL_INDEX": str(machine.work / "index.sqlite"),
        "GPU_CHECK_ARCH": machine.arch,
        "GPU_CHECK_WORK": str(machine.work),
    }


def run(
    steps: Sequence[Step],
    machine: Machine,
    seconds: float,
    save: Callable[[dict[str, tuple[Step, Outcome]]], None],
    env: Mapping[str, str],
) -> dict[str, tuple[Step, Outcome]]:
    """Run the steps one after the other and save what is known after each.

    Args:
        seconds: budget of all of them.
        save: called with the outcomes so far.
        env: environment of the steps.
    """
    found: dict[str, tuple[Step, Outcome]] = {}
    end = time.monotonic() + seconds - RESERVE
    try:
        for step in steps:
            left = end - time.monotonic()
            outcome = one(step, machine, left, env)
            found[step.name] = step, outcome
            if outcome.word == "ok":
                machine.done.add(step.name)
            print(results.line(step, outcome), flush=True)
            save(found)
    except Stopped:
        for step in steps[len(found) :]:
            word = "skipped" if any(outcome.word == "stopped" for _, outcome in found.values()) else "stopped"
            found[step.name] = step, Outcome(word, "the check was stopped", 0.0)
        save(found)
    return found


def one(step: Step, machine: Machine, left: float, env: Mapping[str, str]) -> Outcome:
    """Run one step within the seconds that are left."""
    if missing := step.missing(machine):
        return Outcome("skipped", missing, 0.0)
    if left < LEAST:
        return Outcome("skipped", "no time was left", 0.0)
    folder = machine.work / "steps" / step.name
    folder.mkdir(parents=True, exist_ok=True)
    command = step.command(machine, folder)
    return run_limited(command, min(step.seconds, left), folder / "log.txt", env)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check; 0 where every step that could run ended well, else 1."""
    options = parse(argv)
    name, arch = look(sys.executable)
    if not name and not options.anyway:
        print("bench.gpu: PyTorch sees no CUDA device (--anyway runs what a CPU can)", file=sys.stderr)
        return 1

    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        for other in signals:  # a second one must not stop the writing of what was found
            signal.signal(other, signal.SIG_IGN)
        raise Stopped

    for number in signals:
        signal.signal(number, stop)
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="bodvcl-gpu-"))
    machine = Machine(sys.executable, work, name, arch, options.anyway, set())
    os.chdir(ROOT)
    commit = options.commit or results.commit(ROOT)
    try:
        found = run(
            options.steps,
            machine,
            options.seconds,
            lambda so_far: results.save(options.out, work, name, commit, so_far),
            environment(machine),
        )
        print("\n" + results.summary(options.out, work, name, found))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return int(any(outcome.word not in ("ok", "skipped") for _, outcome in found.values()))


if __name__ == "__main__":
    sys.exit(main())
