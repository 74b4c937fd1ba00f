"""The folder of a page: figures as files, and their numbers."""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bodvcl.data.made.rendered import encode
from bodvcl.errors import UserError
from bodvcl.evaluate.probe_plot import save_plot
from bodvcl.runs.folder import create_folder, write_atomically

FORMATS = (".svg", ".pdf")
"""Every drawn figure is written in these formats."""


class FigureFolder:
    """Writes the files of a page, each atomically.

    Args:
        path: the folder.

    Attributes:
        files: names of the files written since :meth:`begin`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: list[str] = []

    def create(self) -> None:
        """Create the folder, unless it is there.

        Raises:
            UserError: it cannot be created or written to.
        """
        create_folder(self.path, "--out")
        try:
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path}: {error.strerror or error}; choose another --out"
            ) from error

    def begin(self) -> None:
        """Begin a new list of files."""
        self.files = []

    def save_figure(self, name: str, figure: Figure) -> None:
        """Write a figure as ``name.svg`` and ``name.pdf``."""
        for ending in FORMATS:
            save_plot(figure, self.path / f"{name}{ending}")
            self.files.append(f"{name}{ending}")

    def save_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows with the same keys as ``name.csv``."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
        self.save(f"{name}.csv", text.getvalue().encode())

    def save_video(self, name: str, frames: NDArray[np.uint8], fps: int) -> bytes:
        """Write frames (n, height, width, 3) as H.264 in ``name.mp4``; returns the file's bytes."""
        part = self.path / f".{name}.mp4.{os.getpid()}.part"
        try:
            encode(part, frames, fps)
            content = part.read_bytes()
        finally:
            part.unlink(missing_ok=True)
        self.save(f"{name}.mp4", content)
        return content

    def save(self, name: str, content: bytes) -> None:
        """Write a file."""
        write_atomically(self.path / name, content)
        self.files.append(name)


def file_name(*parts: str) -> str:
    """Names of runs and labels as a part of a file's name, and of an id on the page."""
    return "-".join(re.sub(r"[^A-Za-z0-9-]+", "_", part).strip("_") or "_" for part in parts)
