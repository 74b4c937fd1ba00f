"""How results are sent between processes: tensors go through shared memory if it has room for them."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Mapping
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch.multiprocessing  # noqa: F401  lets ForkingPickler move tensors to shared memory
from torch import Tensor

SHARED = "/dev/shm"

_SPARE = 4  # room that must be free, in results of this size: other processes may check at the same moment


def pack(content: Any) -> tuple[bytes, bool]:
    """Bytes for :func:`pickle.loads` in another process, and whether shared memory could be used.

    Without shared memory the bytes contain the tensors, which is larger and slower to send.

    Args:
        content: anything that can be pickled; tensors in tuples, lists, mappings and dataclasses are found.
    """
    size = _tensor_bytes(content)
    if size == 0 or _room_for(_SPARE * size):
        try:
            return bytes(ForkingPickler.dumps(content)), True
        except (RuntimeError, OSError):  # there is none, or it may not be written
            pass
    return pickle.dumps(content), False


def _tensor_bytes(content: Any) -> int:
    if isinstance(content, Tensor):
        return content.nbytes
    if dataclasses.is_dataclass(content):
        return sum(_tensor_bytes(getattr(content, field.name)) for field in dataclasses.fields(content))
    if isinstance(content, Mapping):
        return sum(map(_tensor_bytes, content.values()))
    if isinstance(content, tuple | list):
        return sum(map(_tensor_bytes, content))
    return 0


def _room_for(size: int) -> bool:
    """Whether shared memory has room. Writing to a full memory file system would end the process."""
    try:
        status = os.statvfs(SHARED)
    except OSError:
        return not os.path.exists("/proc")  # not Linux: its shared memory has no folder
    return status.f_blocks == 0 or status.f_bavail * status.f_frsize >= size
