"""The processes that train together: their ranks, and how they communicate.

There is one process per device, started by ``torchrun`` (or another program that sets RANK, WORLD_SIZE,
LOCAL_RANK, MASTER_ADDR and MASTER_PORT). Tensors are sent over NCCL on GPUs and over gloo on CPUs; Python
objects over gloo.
"""

from __future__ import annotations

import contextlib
import gc
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore

from bodvcl.errors import ConfigError, UserError

Made = TypeVar("Made")

_OBJECTS_TIMEOUT = timedelta(days=2)
"""Rank 0 may scan a large data set while the others wait. A dead rank is noticed at once."""
_FAILED = "bodvcl/failed"


@dataclass(frozen=True)
class World:
    """Place of a process: ``rank`` of ``size``, ``local_rank`` of ``local_size`` on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


class PeerFailed(Exception):
    """Another process failed and reports it; this process only ends."""


class PeerLost(UserError):
    """The connection to another process broke off, and that process said nothing."""


def world_from_environment() -> World:
    """The place of this process, from the environment variables of ``torchrun``; without them, one process.

    Raises:
        ConfigError: only some of the variables are set, or they are not numbers, or they contradict each
        other.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    given = [name for name in names if os.environ.get(name)]
    if not given or (given == ["WORLD_SIZE"] and os.environ["WORLD_SIZE"] == "1"):
        return World()
    alone = os.environ.get("WORLD_SIZE") == "1"
    needed = names if alone else (*names, "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"{_listed(given)} set but {_listed(missing)} not: start the processes with torchrun, "
            f"or unset {' '.join(given)}"
        )
    rank, size, local_rank = (_whole(name, os.environ[name]) for name in names)
    local_size = _whole("LOCAL_WORLD_SIZE", os.environ.get("LOCAL_WORLD_SIZE") or "1")
    port = 1 if alone else _whole("MASTER_PORT", os.environ["MASTER_PORT"])
    if size < 1 or rank >= size or local_rank >= size or not 1 <= local_size <= size or not 0 < port < 2**16:
        raise ConfigError(
            f"RANK {rank} and LOCAL_RANK {local_rank} must be below WORLD_SIZE {size}, LOCAL_WORLD_SIZE "
            f"{local_size} from 1 to it, MASTER_PORT below 65536: start the processes with torchrun"
        )
    return World(rank, size, local_rank, local_size)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{name} is {text!r}; expected a whole number, as torchrun sets it")
    return int(text)


class Ranks:
    """Communication between the processes, while entered. A single process starts nothing.

    Args:
        world: place of this process.
        device: device of the training.

    Attributes:
        rank: number of this process.
        size: number of processes.
        world: place of this process.
        first: whether this is rank 0, which prints, logs and saves for all.
        device: device of the training.
        speaks: after a failure: whether this rank failed first, and so reports the error to the user.
    """

    def __init__(self, world: World, device: torch.device) -> None:
        self.rank, self.size, self.first = world.rank, world.size, world.rank == 0
        self.world = world
        self.device = device
        self.speaks = True
        self._objects: dist.ProcessGroup | None = None
        self._store: Any = None

    def __enter__(self) -> Ranks:
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.size > 1:
            try:
                self._meet()
            except (dist.DistError, ValueError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
                raise ConfigError(
                    f"the processes cannot meet at {address} (MASTER_ADDR, MASTER_PORT): {reason}"
                ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size == 1:
            return
        if kind is None:
            gc.collect()  # modules of FSDP hold groups in circles; their threads should not outlive Python
            self._objects = None
            dist.destroy_process_group()
        elif issubclass(kind, PeerFailed):
            self._outlive_the_speaker()
        else:
            crashed = issubclass(kind, RuntimeError)  # often because it waits for a rank that failed before
            self.speaks = not (crashed and self._failures(0) > 0) and self._failures(1) == 1
            if not self.speaks:
                self._outlive_the_speaker()
                if crashed:
                    raise PeerFailed from error
            elif _lost_a_peer(error):
                raise PeerLost(
                    "another process has ended without a message: killed, out of memory, or its machine is "
                    "gone; what its launcher says may name it; --resume continues from the last checkpoint"
                ) from error

    def _meet(self) -> None:
        rendezvous = dist.rendezvous  # type: ignore[attr-defined]  # public, but not listed in __all__
        store, _, _ = next(iter(rendezvous("env://")))
        # torchrun may keep its store over a restart, with the addresses of processes that have ended
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._store = PrefixStore(f"bodvcl/{attempt}", store)
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.size)
        group = dist.new_group(backend="gloo", timeout=_OBJECTS_TIMEOUT)
        assert isinstance(group, dist.ProcessGroup)  # every rank is a member
        self._objects = group

    def tell(self, make: Callable[[], Made]) -> Made:
        """Rank 0 makes an object and sends it to all ranks.

        Args:
            make: called on rank 0 only; its result must be picklable.

        Returns:
            The result, on every rank.

        Raises:
            UserError: on rank 0, if ``make`` raises it.
            PeerFailed: on the other ranks, if ``make`` raises a UserError.
        """
        if self.size == 1:
            return make()
        message: list[Any] = [None]
        if self.first:
            try:
                message = [(make(), None)]
            except UserError as error:
                message = [(None, error)]
        dist.broadcast_object_list(message, src=0, group=self._objects)
        made: Made
        failure: UserError | None
        made, failure = message[0]
        if failure is not None:
            raise failure if self.first else PeerFailed
        return made

    def least(self, *numbers: int) -> list[int]:
        """The minimum of each number over all ranks."""
        if self.size == 1:
            return list(numbers)
        smallest = torch.tensor(numbers)
        dist.all_reduce(smallest, dist.ReduceOp.MIN, group=self._objects)
        return smallest.tolist()

    @property
    def objects(self) -> dist.ProcessGroup:
        """The group of all ranks over which Python objects and tensors of the host travel."""
        assert self._objects is not None, "there are no other ranks, or they have not met"
        return self._objects

    def gathered(self, own: Made) -> list[Made]:
        """What each rank gives, in the order of the ranks; it must be picklable."""
        if self.size == 1:
            return [own]
        given: list[Any] = [None] * self.size
        dist.all_gather_object(given, own, group=self._objects)
        return given

    def union(self, names: Sequence[str]) -> list[str]:
        """The names that any rank gives, without repetition, in the order of the ranks."""
        return list(dict.fromkeys(name for some in self.gathered(list(names)) for name in some))

    def mean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean of every tensor over the ranks, in one all-reduce. ``tensors`` does not change.

        Args:
            tensors: tensors by name; the same names, shapes and dtypes on every rank.
        """
        if self.size == 1:
            return dict(tensors)
        flat = torch.cat([t.flatten() for t in tensors.values()])
        dist.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [t.numel() for t in tensors.values()])
        return {
            name: torch.empty_like(t).copy_(part.view_as(t))
            for (name, t), part in zip(tensors.items(), parts)
        }

    def neighbours(self, count: int) -> dist.ProcessGroup | None:
        """The group of ``count`` neighbouring ranks that this one is in; None: it is the group of all.

        Args:
            count: divides the number of ranks. Every rank asks for the same.
        """
        if count == self.size:
            return None
        first = self.rank // count * count
        members = list(range(first, first + count))
        group = dist.new_group(members, use_local_synchronization=True)
        assert isinstance(group, dist.ProcessGroup)  # this rank is a member
        return group

    def average_statistics(self, module: nn.Module) -> None:
        """Replace the running BatchNorm statistics of every rank by their mean. Training does not read
        them."""
        if self.size > 1:
            own = {n: b for n, b in module.named_buffers() if n.endswith(("running_mean", "running_var"))}
            for name, value in (self.mean(own) if own else {}).items():
                own[name].copy_(value)

    def _outlive_the_speaker(self) -> None:
        """Wait until the rank that reports the error has ended: when one process ends, the launcher ends
        all."""
        with contextlib.suppress(RuntimeError):
            dist.barrier(self._objects)

    def _failures(self, more: int) -> int:
        """Add ``more`` to the number of failed ranks and return it."""
        try:
            return int(self._store.add(_FAILED, more))
        except RuntimeError:  # the process that holds the number is gone
            return 2


def _lost_a_peer(error: BaseException | None) -> bool:
    """Whether a collective failed because a process at the other end has gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/" in str(error))


@contextlib.contextmanager
def silent(unless: bool) -> Iterator[None]:
    """While entered, suppress printed output and warnings; errors are still shown.

    Args:
        unless: do nothing. For rank 0, which prints for all.
    """
    if unless:
        yield
        return
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield
