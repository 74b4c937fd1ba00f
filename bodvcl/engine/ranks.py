"""The processes that train together: who this one is, and the few things they say to each other.

One process per device, started by ``torchrun`` (or anything else that sets RANK, WORLD_SIZE, LOCAL_RANK,
MASTER_ADDR and MASTER_PORT). Tensors travel over NCCL on GPUs and over gloo on CPUs; words travel over gloo.
"""

from __future__ import annotations

import contextlib
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

from bodvcl.errors import ConfigError, UserError

Made = TypeVar("Made")

_WORDS_TIMEOUT = timedelta(
    days=2
)  # rank 0 may scan a large data set meanwhile; a dead rank is noticed at once
_FAILED = "bodvcl/failed"


@dataclass(frozen=True)
class World:
    """Place of a process: ``rank`` of ``size``, ``local_rank`` of ``local_size`` on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


class PeerFailed(Exception):
    """Another process failed and says so itself; this one only ends."""


def world_from_environment() -> World:
    """What ``torchrun`` tells a process; a world of one where nothing is said.

    Raises:
        ConfigError: some of the variables are set and others are not, are no numbers, or contradict each
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
    """While entered, this process is one of its world; with a world of one, nothing is started.

    Args:
        world: from :func:`world_from_environment`.
        device: what the tensors of the training live on.

    Attributes:
        rank, size: place in the world.
        first: whether this is rank 0, which speaks, logs and saves for all.
        device: what the tensors of the training live on.
        speaks: after a failure, whether this rank was the first to fail and tells the user.
    """

    def __init__(self, world: World, device: torch.device) -> None:
        self.rank, self.size, self.first = world.rank, world.size, world.rank == 0
        self.device = device
        self.speaks = True
        self._words: dist.ProcessGroup | None = None
        self._store: Any = None

    def __enter__(self) -> Ranks:
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.size > 1:
            try:
                self._meet()
            except (dist.DistError, ValueError) as error:
                said = (str(error).splitlines() or [type(error).__name__])[0]
                address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
                raise ConfigError(
                    f"the processes cannot meet at {address} (MASTER_ADDR, MASTER_PORT): {said}"
                ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size == 1:
            return
        if kind is None:
            dist.destroy_process_group()
        elif issubclass(kind, PeerFailed):
            self._outlive_the_speaker()
        else:
            left_alone = issubclass(kind, RuntimeError) and self._failures(0) > 0
            self.speaks = not left_alone and self._failures(1) == 1
            if not self.speaks:
                self._outlive_the_speaker()
            if left_alone:  # in a collective that a failed rank will never join
                raise PeerFailed from error

    def _meet(self) -> None:
        self._store, _, _ = next(iter(dist.rendezvous("env://")))
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.size)
        self._words = dist.new_group(backend="gloo", timeout=_WORDS_TIMEOUT)

    def tell(self, make: Callable[[], Made]) -> Made:
        """Rank 0 makes something and all get it.

        Args:
            make: called on rank 0 only; what it returns must be picklable.

        Raises:
            PeerFailed: on the other ranks, where rank 0 met an error that the user can mend.
        """
        if self.size == 1:
            return make()
        said: list[Any] = [None]
        if self.first:
            try:
                said = [(make(), None)]
            except UserError as error:
                said = [(None, error)]
        dist.broadcast_object_list(said, src=0, group=self._words)
        made, error = said[0]
        if error is not None:
            raise error if self.first else PeerFailed
        return made

    def least(self, *numbers: int) -> list[int]:
        """The smallest of each number over all ranks."""
        if self.size == 1:
            return list(numbers)
        smallest = torch.tensor(numbers)
        dist.all_reduce(smallest, dist.ReduceOp.MIN, group=self._words)
        return smallest.tolist()

    def mean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean of every tensor over the ranks, in one all-reduce; a rank's own tensors are left alone.

        Args:
            tensors: same names, shapes and dtypes on every rank.
        """
        if self.size == 1:
            return dict(tensors)
        flat = torch.cat([t.flatten() for t in tensors.values()])
        dist.all_reduce(flat)
        flat /= self.size
        parts = flat.split([t.numel() for t in tensors.values()])
        return {
            name: torch.empty_like(t).copy_(part.view_as(t))
            for (name, t), part in zip(tensors.items(), parts)
        }

    def average_statistics(self, module: nn.Module) -> None:
        """Give every rank the mean of the ranks' BatchNorm statistics; training never reads them."""
        if self.size > 1:
            own = {n: b for n, b in module.named_buffers() if n.endswith(("running_mean", "running_var"))}
            for name, value in (self.mean(own) if own else {}).items():
                own[name].copy_(value)

    def _outlive_the_speaker(self) -> None:
        """Wait until the rank that tells the user has ended: a launcher ends all at the first one's end."""
        with contextlib.suppress(RuntimeError):
            dist.barrier(self._words)

    def _failures(self, more: int) -> int:
        """Failures that ranks have reported so far, ``more`` included."""
        try:
            return self._store.add(_FAILED, more)
        except RuntimeError:  # the process that holds the count is gone
            return 2


@contextlib.contextmanager
def silent(unless: bool) -> Iterator[None]:
    """Print nothing and warn of nothing, unless ``unless``: what one rank says need not be said again. Errors
    are still seen."""
    if unless:
        yield
        return
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield
