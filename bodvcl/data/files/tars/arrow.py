"""Arrow files: written whole or not at all, and read without copying them into memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa


def read_arrow(path: Path) -> pa.Table:
    """A table whose columns stay in the file; pages are loaded as they are used, once for all processes.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: it is damaged.
    """
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def write_arrow(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write an Arrow file so that a reader sees all of it or nothing.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
