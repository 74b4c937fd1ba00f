"""Files that are not as they were when they were embedded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

from bodvcl.embed.file import Embeddings


def file_state(embeddings: Embeddings, row: int) -> Literal["same", "changed", "missing", "unknown"]:
    """How the file of a row compares with what was embedded, by its size and its time of change.

    A video inside a data set has no file of its own: "unknown".
    """
    if embeddings.size[row] < 0:
        return "unknown"
    try:
        now = os.stat(embeddings.paths[row])
    except OSError:
        return "missing"
    same = now.st_size == embeddings.size[row] and now.st_mtime_ns == embeddings.modified[row]
    return "same" if same else "changed"


def not_as_embedded(embeddings: Embeddings, rows: Iterable[int]) -> dict[str, list[str]]:
    """Paths of the rows whose files have changed, and of those that are missing, each once."""
    found: dict[str, list[str]] = {"changed": [], "missing": []}
    for row in {embeddings.paths[row]: row for row in rows}.values():
        state = file_state(embeddings, row)
        if state in found:
            found[state].append(embeddings.paths[row])
    return found
