"""A file of embeddings, opened for search: rows near a row, or near a video that is not in the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bodvcl.embed.file import Embeddings, read_embeddings
from bodvcl.search.looks import APPEARANCE, COMPARED, MOTION, compared


class Hit(NamedTuple):
    """A row that a search found.

    Attributes:
        row: its number in the file.
        score: ``(1 - w) appearance + w motion``, by which hits are ordered; w is the weight of motion.
        appearance, motion: cosines in [-1, 1] of the standardised vectors.
    """

    row: int
    score: float
    appearance: float
    motion: float


class Space:
    """Rows of a file of embeddings, and which of them are near.

    Attributes:
        embeddings: the rows; of their vectors only those that are compared.
        units: "appearance" and "motion" to float32 unit rows ``(rows, width)``.
    """

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings
        self.units, self._makers = compared(embeddings.vectors)

    def query(self, vectors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Unit vectors ``(width,)`` of a video outside the file, from its vectors ``(width,)`` by kind."""
        return {name: self._makers[name](vectors[kind][None])[0] for name, kind in COMPARED.items()}

    def near_row(self, row: int, motion: float, count: int, *, same_video: bool = False) -> list[Hit]:
        """The rows nearest to a row, the nearest first, without the row itself.

        Args:
            row: number of the row.
            motion: weight w of motion in [0, 1]; 0: by appearance alone.
            count: largest number of hits.
            same_video: also other windows of the same video.
        """
        own = self.embeddings.video == self.embeddings.video[row] if not same_video else None
        out = np.array([row]) if own is None else np.flatnonzero(own)
        return self.near({name: units[row] for name, units in self.units.items()}, motion, count, out)

    def near(
        self,
        query: Mapping[str, NDArray[np.float32]],
        motion: float,
        count: int,
        without: NDArray[np.int64] | None = None,
    ) -> list[Hit]:
        """The rows nearest to a query of :meth:`query`; ``without``: numbers of rows that are left out."""
        cosines = {name: units @ query[name] for name, units in self.units.items()}
        score = (1 - motion) * cosines[APPEARANCE] + motion * cosines[MOTION]
        if without is not None:
            score[without] = -np.inf
        best = np.argsort(-score, kind="stable")[:count]
        return [
            Hit(row, float(score[row]), float(cosines[APPEARANCE][row]), float(cosines[MOTION][row]))
            for row in best.tolist()
            if np.isfinite(score[row])
        ]


def open_space(path: Path) -> Space:
    """Open a file of ``bodvcl embed`` for search.

    Raises:
        DataError: no such file, or not a file of embeddings.
    """
    return Space(read_embeddings(path, tuple(COMPARED.values())))
