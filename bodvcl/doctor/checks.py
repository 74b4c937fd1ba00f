"""All checks, in the order in which they run, and how they run."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bodvcl.doctor.apart import run_apart
from bodvcl.doctor.outcome import RANKS, Finding, Outcome, failed, skipped
from bodvcl.doctor.place import this_host


@dataclass(frozen=True)
class Node:
    """What the checks are about.

    Attributes:
        run_dir: folder of the run.
        data: the training's ``--data``; None: not looked at.
        gpus: how many GPUs there must be; None: any number.
        ranks: processes that will train on this machine.
        seconds: time limit of all checks together. One check gets a quarter of it at most.
    """

    run_dir: Path
    data: str | None
    gpus: int | None
    ranks: int
    seconds: float


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: for the user.
        place: ``module:function``, imported when it runs.
        arguments: what the function is called with.
        torch: whether it needs PyTorch.
    """

    name: str
    place: str
    arguments: Callable[[Node], Sequence[object]] = lambda node: ()
    torch: bool = False

    def __call__(self, node: Node) -> Outcome:
        """Run it in this process."""
        module, _, function = self.place.partition(":")
        outcome: Outcome = getattr(import_module(f"bodvcl.doctor.{module}"), function)(*self.arguments(node))
        return outcome


def _folder(node: Node) -> Sequence[object]:
    return (node.run_dir,)


def _existing(node: Node) -> Sequence[object]:
    from bodvcl.doctor.run_folder import existing

    return (existing(node.run_dir),)


def _visible(node: Node) -> Sequence[object]:
    from bodvcl.doctor.together import visible_gpus

    return (visible_gpus(),)


def _collective(node: Node) -> Sequence[object]:
    return (_OF_ITS_TIME * node.seconds / _SHARE,)


CHECKS = (
    Check("packages", "software:check_packages"),
    Check("glibc", "software:check_glibc"),
    Check("torch", "software:check_torch"),
    Check("driver", "driver:check_driver", torch=True),
    Check("gpus", "gpus:check_gpus", lambda node: (node.gpus,), torch=True),
    Check("operators-cpu", "numbers:check_cpu_operators", torch=True),
    Check("operators-gpu", "numbers:check_gpu_operators", torch=True),
    Check("gloo", "together:check_gloo", _collective, torch=True),
    Check("nccl", "together:check_nccl", _collective, torch=True),
    Check("pyav", "decoders:check_pyav", torch=True),
    Check("dali", "decoders:check_dali", torch=True),
    Check("torchcodec", "decoders:check_torchcodec", torch=True),
    Check("shared-memory", "shared_memory:check_shared_memory", _visible, torch=True),
    Check("limits", "limits:check_limits"),
    Check("memory", "limits:check_memory", lambda node: (node.ranks,)),
    Check("cores", "limits:check_cores", _visible, torch=True),
    Check("run-folder", "run_folder:check_run_folder", _folder),
    Check("file-system", "file_system:check_file_system", _existing),
    Check("write-speed", "run_folder:check_write_speed", _folder),
    Check("rename", "run_folder:check_rename", _folder),
    Check("locks", "run_folder:check_locks", _folder),
    Check("file-times", "run_folder:check_file_times", _folder),
    Check("data", "data:check_data", lambda node: (node.data,), torch=True),
)
NAMES = (*(check.name for check in CHECKS), RANKS)

_TORCH = "torch"
_SHARE = 4
_OF_ITS_TIME = 0.7  # of a check, for a collective: whoever hangs in it is named before the check is ended
_NEED_FOLDER = ("write-speed", "rename", "locks", "file-times")


def run_checks(node: Node, names: Sequence[str]) -> Iterator[Finding]:
    """Run checks one after the other, each in a process of its own, and yield what they find.

    Args:
        node: what they are about.
        names: names of the checks; others are left out.
    """
    host, unusable = this_host(), set[str]()
    end = time.monotonic() + node.seconds
    if _TORCH not in names and any(check.torch for check in CHECKS if check.name in names):
        names = (_TORCH, *names)
    for check in CHECKS:
        if check.name not in names:
            continue
        began = time.monotonic()
        limit = min(node.seconds / _SHARE, end - began)
        outcome = _why_not(check, node, unusable) or run_apart(functools.partial(check, node), limit)
        if outcome.verdict == "failed":
            unusable.add(check.name)
        elif check.name == _TORCH:
            outcome = _import_torch() or outcome
        seconds = round(time.monotonic() - began, 3)
        yield Finding(check.name, outcome.verdict, outcome.seen, outcome.remedy, seconds, host)


def _why_not(check: Check, node: Node, unusable: set[str]) -> Outcome | None:
    if check.torch and _TORCH in unusable:
        return skipped("PyTorch cannot be used")
    if check.name in _NEED_FOLDER and "run-folder" in unusable:
        return skipped("the run folder cannot be used")
    if check.name == "data" and node.data is None:
        return skipped("no --data given")
    return None


def _import_torch() -> Outcome | None:
    """Import PyTorch here, so that the processes of the checks that follow have it. None: that works."""
    try:
        import_module("torch.distributed")
    except (ImportError, OSError) as error:
        return failed(f"PyTorch cannot be imported: {str(error).splitlines()[0]}", "install it again")
    return None
