"""The processes of a job compare their clocks and their software, and bring their findings to rank 0."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed.distributed_c10d import PrefixStore, Store

import bodvcl
from bodvcl.doctor.outcome import Finding, Outcome, combined, failed, ok, warning
from bodvcl.doctor.place import this_host
from bodvcl.doctor.software import version_of
from bodvcl.system.commit import code_commit
from bodvcl.text.words import counted

_QUESTIONS = 5
_APART = 1.0
"""Seconds between two clocks from which they are reported."""
_SERIOUS = ("bodvcl", "commit", "libraries", "torch")
"""Software that must be the same on all ranks; other differences are only warned of."""
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Member:
    """One rank.

    Attributes:
        rank, host: its number and machine.
        clock: seconds that its clock is ahead of rank 0.
        software: name to version.
        findings: of the checks of its machine; only the first rank of a machine has any.
    """

    rank: int
    host: str
    clock: float
    software: Mapping[str, str]
    findings: Sequence[Finding]


def own_software() -> dict[str, str]:
    """What must be the same on all ranks."""
    folder = Path(bodvcl.__file__).parent
    return {
        "bodvcl": bodvcl.__version__,
        "commit": code_commit() or _UNKNOWN,
        "libraries": _digest([folder / "_C.so", folder / "_C_cuda.so"]),
        "python": platform.python_version(),
        **{name: version_of(name) or "not installed" for name in ("torch", "triton", "numpy", "av")},
    }


def _digest(paths: Sequence[Path]) -> str:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in paths if path.exists()]
    return " ".join(digests) or "none"


class Meeting:
    """Where the ranks of a job meet: a key-value store, which rank 0 or the launcher holds.

    Args:
        store: the store.
        rank: of this process.
        size: number of ranks.
        limit: seconds to wait for another rank.
    """

    def __init__(self, store: Store, rank: int, size: int, limit: float) -> None:
        self._store, self._rank, self._size = store, rank, size
        store.set_timeout(timedelta(seconds=limit))

    def bring(self, findings: Sequence[Finding]) -> list[Member] | None:
        """Send the findings of this rank; returns what all ranks sent on rank 0, None on others.

        Raises:
            RuntimeError: a rank does not come.
        """
        if self._rank == 0:
            members = [Member(0, this_host(), 0.0, own_software(), findings)]
            return members + [self._receive(rank) for rank in range(1, self._size)]
        self._store.wait([f"listens/{self._rank}"])
        member = Member(self._rank, this_host(), self._ask_time(), own_software(), findings)
        self._store.set(f"member/{self._rank}", json.dumps(asdict(member)))
        return None

    def conclude(self, code: int | None) -> int:
        """Rank 0 tells the exit code to all; returns it.

        Raises:
            RuntimeError: rank 0 does not come.
        """
        if code is not None:
            self._store.set("code", str(code))
            for rank in range(1, self._size):  # the store ends with this process
                self._store.wait([f"heard/{rank}"])
            return code
        told = int(self._store.get("code"))
        self._store.set(f"heard/{self._rank}", "yes")
        return told

    def _ask_time(self) -> float:
        """How far the clock of this machine is ahead of that of rank 0, in seconds, by the fastest answer."""
        best, ahead = float("inf"), 0.0
        for question in range(_QUESTIONS):
            sent = time.time()
            self._store.set(f"question/{self._rank}/{question}", "what time is it?")
            told = float(self._store.get(f"answer/{self._rank}/{question}"))
            received = time.time()
            if received - sent < best:
                best, ahead = received - sent, (sent + received) / 2 - told
        return ahead

    def _receive(self, rank: int) -> Member:
        self._store.set(f"listens/{rank}", "yes")
        for question in range(_QUESTIONS):
            self._store.wait([f"question/{rank}/{question}"])
            self._store.set(f"answer/{rank}/{question}", repr(time.time()))
        sent: dict[str, Any] = json.loads(self._store.get(f"member/{rank}"))
        return Member(**{**sent, "findings": [Finding(**finding) for finding in sent["findings"]]})


def meet(rank: int, size: int, limit: float) -> Meeting:
    """Meet the other ranks at MASTER_ADDR:MASTER_PORT, as a training does.

    Raises:
        RuntimeError, ValueError: the address cannot be reached, or is taken.
    """
    import torch.distributed as dist

    rendezvous = dist.rendezvous  # type: ignore[attr-defined]  # public, but not listed in __all__
    store, _, _ = next(iter(rendezvous("env://", timeout=timedelta(seconds=limit))))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return Meeting(PrefixStore(f"bodvcl/doctor/{attempt}", store), rank, size, limit)


def judge_ranks(members: Sequence[Member]) -> Outcome:
    """Whether clocks and software of all ranks are the same."""
    others = members[1:]
    outcomes = [*_clocks(others), *_software(members)]
    hosts = len({member.host for member in members})
    if outcomes:
        return combined(outcomes)
    apart = 1000 * max((abs(member.clock) for member in others), default=0.0)
    who = f"{counted(len(members), 'rank')} on {counted(hosts, 'host')}"
    return ok(f"{who}: same software, clocks within {apart:.0f} ms")


def _clocks(others: Sequence[Member]) -> list[Outcome]:
    late = {m.host: m.clock for m in others if abs(m.clock) > _APART}
    if not late:
        return []
    listed = ", ".join(f"{host} {clock:+.1f} s" for host, clock in late.items())
    return [
        warning(
            f"clocks differ from that of rank 0: {listed}",
            "bring them together: chronyd or ntpd on every node",
        )
    ]


def _software(members: Sequence[Member]) -> list[Outcome]:
    found = []
    for name in members[0].software:
        told = [(member.host, member.software.get(name, _UNKNOWN)) for member in members]
        known = [pair for pair in told if pair[1] != _UNKNOWN]
        differ = [pair for pair in known if not _same(name, pair[1], known[0][1])]
        silent = [pair for pair in told if pair[1] == _UNKNOWN]
        if differ:
            bad = failed if name in _SERIOUS else warning
            remedy = "install the same release of everything on every node"
            found.append(bad(_difference(name, known[0], differ), remedy))
        if known and silent:
            remedy = "let git read the checkout there (git status says what is wrong), or install a wheel"
            found.append(warning(_difference(name, known[0], silent), remedy))
    return found


def _same(name: str, version: str, other: str) -> bool:
    """Whether two versions are the same. Of commits one may have fewer digits."""
    if name != "commit":
        return version == other
    (one, *dirty), (two, *other_dirty) = version.split("-"), other.split("-")
    return dirty == other_dirty and (one.startswith(two) or two.startswith(one))


def _difference(name: str, first: tuple[str, str], others: Sequence[tuple[str, str]]) -> str:
    """How others differ from a first one; each is a host and its version."""
    text = f"{name} is {first[1]} on {first[0]}, {others[0][1]} on {others[0][0]}"
    more = len({host for host, _ in others}) - 1
    return f"{text} and {counted(more, 'more host')}" if more else text
