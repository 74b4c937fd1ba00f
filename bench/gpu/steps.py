"""The table of steps: what each one proves, its command, its limit and what it needs."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BENCH = HERE.parent
ROOT = BENCH.parent


@dataclass(frozen=True)
class Machine:
    """Where the steps run.

    Attributes:
        python: the interpreter of the steps.
        work: temporary folder; ``work/site`` holds the package and the wheels.
        gpu: name of the GPU, "" where there is none.
        arch: its architecture, such as "90".
        anyway: run what a CPU can, without a GPU.
        done: names of the steps that ended well.
    """

    python: str
    work: Path
    gpu: str
    arch: str
    anyway: bool
    done: set[str]


Need = Callable[[Machine], str]
"""What is missing for a step, in words; "" where nothing is."""


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: as ``--only`` takes it.
        proves: what is known when it has passed.
        seconds: its limit.
        command: from the machine and the step's own folder, where it may write.
        needs: what it cannot do without.
    """

    name: str
    proves: str
    seconds: int
    command: Callable[[Machine, Path], Sequence[str]]
    needs: Sequence[Need] = ()

    def missing(self, machine: Machine) -> str:
        """Why the step cannot run, in words; "" where it can."""
        return next((why for need in self.needs if (why := need(machine))), "")


def gpu(machine: Machine) -> str:
    """A GPU, or the wish to go on without one."""
    return "" if machine.gpu or machine.anyway else "PyTorch sees no CUDA device"


def real_gpu(machine: Machine) -> str:
    """A GPU, also in a rehearsal."""
    return "" if machine.gpu else "PyTorch sees no CUDA device"


def package(machine: Machine) -> str:
    """The package, from the step of that name."""
    return "" if "package" in machine.done else "the step 'package' did not end well"


def tool(name: str) -> Need:
    """A program on the path."""
    return lambda machine: "" if shutil.which(name) else f"{name} is not installed"


def installed(name: str) -> bool:
    """Whether this interpreter has a module."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is not there either
        return False


def module(name: str, hint: str = "") -> Need:
    """A Python package, installed or among the wheels."""

    def need(machine: Machine) -> str:
        there = (machine.work / "site" / name.replace(".", "/")).exists() or installed(name)
        return "" if there else f"the Python package {name} is not installed{hint}"

    return need


def script(name: str) -> Callable[[Machine, Path], list[str]]:
    """A script of this folder; its argument is the step's folder."""
    return lambda machine, folder: [machine.python, str(HERE / name), str(folder)]


def gpu_tests(*where: str, side_by_side: bool = True) -> Callable[[Machine, Path], list[str]]:
    """GPU tests, side by side where pytest-xdist is there; one that hangs ends alone with pytest-timeout."""

    def command(machine: Machine, folder: Path) -> list[str]:
        line = [machine.python, "-m", "pytest", "-q", "-m", "gpu", *where, "--tb=short", "-rfE"]
        line += [
            "--continue-on-collection-errors",
            f"--junitxml={folder}/tests.xml",
            "-p",
            "no:cacheprovider",
        ]
        line += ["--benchmark-disable"] if installed("pytest_benchmark") else []
        workers = min(8, (os.cpu_count() or 1) // 2) if side_by_side and installed("xdist") else 1
        line += ["-n", str(workers)] if workers > 1 else []
        return line + (["--timeout", "100"] if installed("pytest_timeout") else [])

    return command


def benchmark(name: str) -> Callable[[Machine, Path], list[str]]:
    """One file of benchmarks."""

    def command(machine: Machine, folder: Path) -> list[str]:
        line = [machine.python, "-m", "pytest", "-q", f"bench/{name}.py", "--tb=short", "--benchmark-quiet"]
        line += ["-p", "no:cacheprovider", "--benchmark-max-time=0.3"]
        return [*line, f"--benchmark-json={folder}/bench.json", f"--junitxml={folder}/tests.xml"]

    return command


def sanitizer(check: str) -> Callable[[Machine, Path], list[str]]:
    """compute-sanitizer over small calls of the Koopman kernels."""

    def command(machine: Machine, folder: Path) -> list[str]:
        line = ["compute-sanitizer", f"--tool={check}", "--error-exitcode=9", "--print-limit=20"]
        return [*line, machine.python, str(HERE / "koopman_calls.py"), str(folder)]

    return command


def hardware_counters(machine: Machine, folder: Path) -> list[str]:
    """Nsight Compute over the same calls; the report opens in its own program."""
    line = ["ncu", "--clock-control", "none", "--set", "full", "--kernel-name-base", "demangled"]
    line += [
        "--kernel-name",
        "regex:forward_warp|backward_warp|forward_block|backward_block",
        "--launch-count",
        "6",
    ]
    return [
        *line, "--force-overwrite", "--export", f"{folder}/koopman", "--page", "details", "--print-summary",
        "per-kernel", machine.python, str(HERE / "koopman_calls.py"), str(folder), "--large",
    ]  # fmt: skip


def bench_file(name: str) -> Need:
    """A file of benchmarks."""
    return lambda machine: "" if (BENCH / name).exists() else f"there is no bench/{name}"


ALONE = ("tests/ops/test_gpu_streams.py", "tests/bench/test_timing.py")
"""Tests of what happens when: others beside them would change that."""
RUN = (gpu, package)
TESTING = (*RUN, module("pytest"))
TIMING = (*RUN, module("pytest_benchmark"))
CHECKING = (real_gpu, package, tool("compute-sanitizer"))
DALI = module("nvidia.dali", " (python -m bench.gpu.fetch --dali, docs/gpu.md)")
STEPS = (
    Step(
        "machine",
        "versions, the device, and the two ceilings: copy and matrix product",
        40,
        script("machine.py"),
        (gpu,),
    ),
    Step(
        "package",
        "the wheels and the package are there, built for this GPU, and load",
        150,
        script("package.py"),
        (gpu,),
    ),
    Step("smoke", "every kernel runs once and agrees with the PyTorch route", 40, script("smoke.py"), RUN),
    Step(
        "tests-ops",
        "the operations against float64: sizes, dtypes, options",
        70,
        gpu_tests("tests/ops", "tests/kernels", *(f"--ignore={path}" for path in ALONE)),
        TESTING,
    ),
    Step(
        "tests-streams",
        "the operations on other streams, in captured graphs and compiled",
        60,
        gpu_tests(*ALONE, side_by_side=False),
        TESTING,
    ),
    Step(
        "memcheck",
        "no Koopman kernel reads or writes outside of its memory",
        25,
        sanitizer("memcheck"),
        CHECKING,
    ),
    Step(
        "racecheck",
        "no race in the shared memory of the Koopman kernels",
        25,
        sanitizer("racecheck"),
        CHECKING,
    ),
    Step("initcheck", "no Koopman kernel reads what nobody wrote", 25, sanitizer("initcheck"), CHECKING),
    Step(
        "tests",
        "all other GPU tests",
        120,
        gpu_tests(
            "tests",
            "--ignore=tests/ops",
            "--ignore=tests/kernels",
            "--ignore=tests/data/test_dali.py",
            *(f"--ignore={path}" for path in ALONE),
            "-k",
            "not compile",
        ),
        TESTING,
    ),
    Step(
        "train",
        "python -m bodvcl.train --fast, from rendered videos to the report",
        90,
        script("train.py"),
        RUN,
    ),
    Step(
        "bench-koopman",
        "Koopman split and losses against PyTorch and the paper's formulas",
        60,
        benchmark("test_koopman"),
        TIMING,
    ),
    Step(
        "bench-contrastive",
        "InfoNCE against eager PyTorch, time and memory",
        50,
        benchmark("test_contrastive"),
        TIMING,
    ),
    Step(
        "bench-steps", "a training step, with and without BOD-VCL", 120, benchmark("test_train_step"), TIMING
    ),
    Step("bench-augment", "augmentation against torchvision", 25, benchmark("test_augment"), TIMING),
    Step("trace", "where the time of a training step goes, kernel by kernel", 60, script("trace.py"), RUN),
    Step(
        "counters",
        "what limits the Koopman kernels (Nsight Compute)",
        40,
        hardware_counters,
        (real_gpu, package, tool("ncu")),
    ),
    Step(
        "bench-compile",
        "a training step with --compile beside the same step without",
        200,
        benchmark("test_compiled_step"),
        TIMING,
    ),
    Step(
        "tests-compile",
        "training steps that are compiled",
        150,
        gpu_tests("tests/engine/test_gpu_training.py", "-k", "compile"),
        TESTING,
    ),
    Step(
        "bench-tiles",
        "which tiles of InfoNCE are the fastest",
        60,
        benchmark("test_tiles"),
        (*TIMING, bench_file("test_tiles.py")),
    ),
    Step(
        "dali",
        "decoding with DALI: its tests",
        60,
        gpu_tests("tests/data/test_dali.py", side_by_side=False),
        (*TESTING, DALI),
    ),
    Step(
        "bench-decoding",
        "clips that reach the GPU: DALI, where it is there, against PyAV",
        60,
        benchmark("test_gpu_decoding"),
        TIMING,
    ),
    Step(
        "scene",
        "what an R(2+1)D-18 learns where the scene gives the video away",
        530,
        script("scene.py"),
        RUN,
    ),
)
"""In the order in which they run: the most important first."""


def chosen(only: Sequence[str], start: str | None) -> list[Step]:
    """The steps that were asked for, in their order.

    Args:
        only: names; empty for all. "machine" and "package" come along, because the others need them.
        start: name of the first of them.

    Raises:
        ValueError: there is no step of such a name.
    """
    names = [step.name for step in STEPS]
    for name in (*only, *([start] if start else ())):
        if name not in names:
            raise ValueError(f"there is no step {name!r}; the steps are {', '.join(names)}")
    first = names.index(start) if start else 0
    always = ("machine", "package")
    return [
        step
        for i, step in enumerate(STEPS)
        if step.name in always or (i >= first and (not only or step.name in only))
    ]
