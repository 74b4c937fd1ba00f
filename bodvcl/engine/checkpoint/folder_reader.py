"""Reads the folder of a cut checkpoint without running code from it, as ``weights_only`` does for a file."""

from __future__ import annotations

import io
import pickle
from pathlib import PurePath
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata

_KNOWN = (
    "torch.distributed.checkpoint.metadata",
    "torch.distributed.checkpoint.filesystem",
)
"""Modules whose plain records the index of a folder consists of."""


class SafeReader(FileSystemReader):
    """PyTorch's reader, but the index of the folder may only hold its own records, sizes and dtypes."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The index of the folder.

        Raises:
            pickle.UnpicklingError: it is damaged, or holds something else.
        """
        path = self.fs.concat_path(self.path, ".metadata")
        with self.fs.create_stream(path, "rb") as file:
            found = _Records(io.BytesIO(file.read())).load()
        if not isinstance(found, Metadata):
            raise pickle.UnpicklingError("its index is not one of torch.distributed.checkpoint")
        if found.storage_meta is not None:
            found.storage_meta.load_id = self.load_id
        return found


class _Records(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("pathlib") and name == "PosixPath":
            return PurePath  # where the folder was when it was written
        found = super().find_class(module, name) if module.startswith("torch") and "." not in name else None
        record = isinstance(found, type) and module in _KNOWN
        plain = isinstance(found, torch.dtype | torch.layout | torch.memory_format) or found is torch.Size
        if record or plain or (module, name) == ("torch.serialization", "_get_layout"):
            return found
        raise pickle.UnpicklingError(f"its index asks for {module}.{name}")
