"""The state of a run whose weights are cut over its ranks: each rank writes and reads its own part.

``last.pt`` stays the one file that stands for the checkpoint. It then holds all but the tensors, and the name
of the folder beside it in which ``torch.distributed.checkpoint`` keeps them. The folder has a name of its
own, and is complete before the file is replaced. So a crash at any time leaves the checkpoint before, and the
copies of ``last.pt`` (``step-*.pt``, ``epoch-*.pt``) keep their folders. Any number of ranks can read it.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bodvcl.engine.checkpoint.file import FOLDER, LAST, NotFinite, first_lines, unwritten, write_state
from bodvcl.engine.checkpoint.folders import folder_of, new_folder
from bodvcl.engine.finite import not_finite
from bodvcl.engine.ranks import PeerFailed, Ranks
from bodvcl.engine.trained import Trained
from bodvcl.errors import CheckpointError
from bodvcl.ops.cut import own_part

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

State = dict[str, Any]
_LEARNER, _OPTIMIZER = "learner", "optimizer"


class Shards:
    """How the tensors of a state are cut over the ranks, and how such a state is written and read.

    A state has the form of :func:`~bodvcl.engine.checkpoint.checkpoint_state`; of a tensor that is cut it
    holds the part of this rank.

    Args:
        trained: the parameters, whole or cut.
        optimizer: the optimiser of ``trained.own``.
        learner: ``state_dict`` of the learner.
        ranks: the processes.
    """

    def __init__(
        self,
        trained: Trained,
        optimizer: torch.optim.Optimizer,
        learner: Mapping[str, Tensor],
        ranks: Ranks,
    ) -> None:
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.tensor import DTensor

        self._ranks = ranks
        self._mesh = DeviceMesh.from_group(ranks.objects, "cpu")
        self._cut = {name: t for name, t in learner.items() if isinstance(t, DTensor)}
        names = {id(p): name for name, p in trained.own.items()}
        self._order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]

    def save(self, run_dir: Path, state: Mapping[str, Any]) -> None:
        """Write a state; every rank calls it with its own.

        Raises:
            NotFinite: the state contains NaN or infinities on a rank; the previous checkpoint is untouched.
            CheckpointError: the disk is full or cannot be written; the previous checkpoint is untouched.
            PeerFailed: the same, on the ranks that do not report it.
        """
        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.filesystem import FileSystemWriter
        from torch.distributed.checkpoint.state_dict_saver import save as save_tensors

        path, ranks = run_dir / LAST, self._ranks
        if broken := ranks.union(not_finite(state)):
            raise NotFinite(path, broken)
        tensors, head = _taken_apart(state)
        named = {
            name: t.cpu() if (size := self._size(name, t)) is None else self._distributed(t.cpu(), size)
            for name, t in tensors.items()
            if ranks.first or self._size(name, t) is not None
        }
        folder = ranks.tell(lambda: new_folder(path, int(state["step"])))
        try:
            save_tensors(
                named,
                storage_writer=FileSystemWriter(folder, single_file_per_rank=True),
                process_group=ranks.objects,
            )
        except CheckpointException as error:
            if not ranks.first:
                raise PeerFailed from error
            shutil.rmtree(folder, ignore_errors=True)
            raise unwritten(path, sum(t.nbytes for t in tensors.values()), _causes(error)[0]) from error
        ranks.tell(lambda: write_state(path, head | {FOLDER: folder.name}))

    def part_of(self, path: Path, state: State) -> State:
        """This rank's part of a whole state, as a run whose weights are not cut saved it."""
        size, rank = self._ranks.size, self._ranks.rank
        tensors, head = _taken_apart(state)
        for name, t in tensors.items():
            if (whole := self._size(name, t)) is not None:
                _refuse_other_size(path, name, t.shape, whole)
                tensors[name] = t[_rows(len(t), rank, size)].clone()
        return _put_together(head, tensors)

    def read(self, path: Path, head: State) -> State:
        """This rank's part of the state that a head belongs to, whatever number of ranks wrote it.

        Raises:
            CheckpointError: the folder of its tensors cannot be read, or does not fit.
        """
        return _read(path, head, self)

    def placed(self, learner: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The learner's part of a state in the form that its ``load_state_dict`` takes."""
        from torch.distributed.tensor import DTensor

        def like(t: Tensor, whole: DTensor) -> Tensor:
            made: Tensor = DTensor.from_local(
                t, whole.device_mesh, whole.placements, shape=whole.shape, stride=whole.stride()
            )
            return made

        return {name: like(t, self._cut[name]) if name in self._cut else t for name, t in learner.items()}

    def target(self, path: Path, name: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
        """Memory for what this rank reads of a saved tensor."""
        whole = self._whole(name)
        if whole is None or not size:
            return torch.empty(size, dtype=dtype)
        _refuse_other_size(path, name, size, whole)
        rows = _rows(size[0], self._ranks.rank, self._ranks.size)
        part = torch.empty(len(range(*rows.indices(size[0]))), *size[1:], dtype=dtype)
        return self._distributed(part, whole)

    def _whole(self, name: str) -> torch.Size | None:
        """Size of the parameter that a tensor of the state belongs to, if it is cut; else None."""
        room, _, rest = name.partition(".")
        if room == _OPTIMIZER:
            number = int(rest.partition(".")[0])
            rest = self._order[number] if number < len(self._order) else ""
        return self._cut[rest].shape if rest in self._cut else None

    def _size(self, name: str, t: Tensor) -> torch.Size | None:
        """Size of the whole of a tensor, if it is cut. A count of steps is not."""
        return None if t.dim() == 0 else self._whole(name)

    def _distributed(self, part: Tensor, whole: torch.Size) -> DTensor:
        from torch.distributed.tensor import DTensor, Shard

        stride = torch.empty(whole, device="meta").stride()
        return DTensor.from_local(part, self._mesh, [Shard(0)], shape=whole, stride=stride)


def read_whole(path: Path, head: State) -> State:
    """The whole state that a head belongs to, for a run whose weights are not cut.

    Raises:
        CheckpointError: the folder of its tensors cannot be read.
    """
    return _read(path, head, None)


def _read(path: Path, head: State, shards: Shards | None) -> State:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load as load_tensors

    from bodvcl.engine.checkpoint.folder_reader import SafeReader

    folder = folder_of(path, head)
    tensors: dict[str, Tensor] = {}
    try:
        reader = SafeReader(folder)
        for name, saved in reader.read_metadata().state_dict_metadata.items():
            if not isinstance(saved, TensorStorageMetadata):
                raise ValueError(f"{name} is not a tensor")
            size, dtype = saved.size, saved.properties.dtype
            tensors[name] = (
                torch.empty(size, dtype=dtype) if shards is None else shards.target(path, name, size, dtype)
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no other process takes part, which is meant
            load_tensors(tensors, storage_reader=reader, no_dist=True)
    except CheckpointException as error:
        raise _unreadable(folder, _causes(error)[0]) from error
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file may make the unpickler raise anything
        raise _unreadable(folder, error) from error
    return _put_together(head, {name: own_part(t) for name, t in tensors.items()})


def _unreadable(folder: Path, why: BaseException) -> CheckpointError:
    return CheckpointError(
        f"{folder} is not a readable part of a checkpoint ({first_lines(why)}): copy an earlier step-*.pt or "
        "epoch-*.pt over last.pt, where there are any"
    )


def _causes(error: Any) -> list[BaseException]:
    """What failed on each rank, by ``torch.distributed.checkpoint``."""
    return [failure[0] for failure in error.failures.values()]


def _refuse_other_size(path: Path, name: str, size: torch.Size, whole: torch.Size) -> None:
    if size != whole:
        raise CheckpointError(
            f"{path} does not fit this configuration ({name} is {list(size)}, expected {list(whole)}): "
            "continue with the version that wrote it, or start a new run with another --run-dir"
        )


def _rows(length: int, rank: int, ranks: int) -> slice:
    """The rows of one rank where a tensor is cut along its first dimension, as ``torch.chunk`` cuts."""
    count = -(-length // ranks)
    return slice(rank * count, (rank + 1) * count)


def _taken_apart(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], State]:
    """The tensors of learner and optimiser by name, and everything else."""
    tensors = {f"{_LEARNER}.{name}": t for name, t in state[_LEARNER].items()}
    rest: dict[int, dict[str, Any]] = {}
    for number, values in state[_OPTIMIZER]["state"].items():
        rest[number] = {}
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}.{number}.{key}"] = value
            else:
                rest[number][key] = value
    head = {name: value for name, value in state.items() if name != _LEARNER}
    return tensors, head | {_OPTIMIZER: state[_OPTIMIZER] | {"state": rest}}


def _put_together(head: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> State:
    """What :func:`_taken_apart` took apart."""
    learner: dict[str, Tensor] = {}
    of_optimizer = {number: dict(values) for number, values in head[_OPTIMIZER]["state"].items()}
    for name, t in tensors.items():
        room, _, rest = name.partition(".")
        if room == _LEARNER:
            learner[rest] = t
        else:
            number, _, key = rest.partition(".")
            of_optimizer.setdefault(int(number), {})[key] = t
    state = {name: value for name, value in head.items() if name != FOLDER}
    return state | {_LEARNER: learner, _OPTIMIZER: head[_OPTIMIZER] | {"state": of_optimizer}}
