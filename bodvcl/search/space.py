"""A file of embeddings, opened for search: rows near a row, or near a video that is not in the file."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bodvcl.embed.file import Embeddings, read_embeddings
from bodvcl.errors import DataError
from bodvcl.search.codes import Codes, faiss_is_there
from bodvcl.search.looks import APPEARANCE, MOTION, NEEDED, Looks
from bodvcl.text.words import counted, printable

LARGE = 200_000
"""From so many rows on, a space for many queries has codes of its rows
(:class:`~bodvcl.search.codes.Codes`)."""

SHORTLIST = 500
"""Rows that the codes propose, beyond those that are left out; their scores are then computed exactly."""


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

    A query is compared with every row. With :data:`LARGE` rows or more, if ``many_queries`` and FAISS is
    installed, 4-bit codes first choose :data:`SHORTLIST` rows. Scores are exact in either case.

    Args:
        embeddings: the rows.
        many_queries: whether codes pay: they take longer to make than one query without them.

    Attributes:
        embeddings: the rows, without their vectors.
        units: "appearance" and "motion" to float32 unit rows ``(rows, width)``.

    Raises:
        DataError: there is no row, or a vector is not finite.
    """

    def __init__(self, embeddings: Embeddings, *, many_queries: bool = True) -> None:
        refuse_useless(embeddings)
        self._looks = Looks(embeddings.vectors)
        self.units = self._looks(embeddings.vectors)
        self.embeddings = dataclasses.replace(embeddings, vectors={})
        self._codes: Codes | None = None
        if many_queries and len(embeddings) >= LARGE:
            if faiss_is_there():
                self._codes = Codes(self.units)
            else:
                warnings.warn(
                    f"faiss is not installed: a query is compared with all {len(embeddings):,} rows, "
                    "which is slower; pip install bodvcl[search]",
                    stacklevel=2,
                )

    def query(self, vectors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Unit vectors ``(width,)`` of a video outside the file, from its vectors ``(width,)`` by kind.

        Raises:
            DataError: a vector is not finite.
        """
        for kind in NEEDED:
            if not np.isfinite(vectors[kind]).all():
                raise DataError(f"the {kind} vector of the query is not finite: the encoder cannot read it")
        units = self._looks({kind: vectors[kind][None] for kind in NEEDED})
        return {name: unit[0] for name, unit in units.items()}

    def near_row(self, row: int, motion: float, count: int, *, same_video: bool = False) -> list[Hit]:
        """The rows nearest to a row, the nearest first, without the row itself.

        Args:
            row: number of the row.
            motion: weight w of motion in [0, 1]; 0: by appearance alone.
            count: largest number of hits.
            same_video: also other windows of the same video.
        """
        out = np.array([row]) if same_video else self.rows_of(int(self.embeddings.video[row]))
        return self.near({name: units[row] for name, units in self.units.items()}, motion, count, out)

    def near(
        self,
        query: Mapping[str, NDArray[np.float32]],
        motion: float,
        count: int,
        without: NDArray[np.int64] | None = None,
    ) -> list[Hit]:
        """The rows nearest to a query of :meth:`query`; ``without``: numbers of rows that are left out."""
        out = np.empty(0, np.int64) if without is None else without
        rows = self._shortlist(query, motion, count + len(out))
        units = self.units if rows is None else {name: part[rows] for name, part in self.units.items()}
        score = _weighted(units, query, motion)
        score[out if rows is None else np.isin(rows, out)] = -np.inf
        best = _largest(score, count)
        numbers = best if rows is None else rows[best]
        cosines = {name: part[numbers] @ query[name] for name, part in self.units.items()}
        found = [
            Hit(row, (1 - motion) * look + motion * move, look, move)
            for row, look, move in zip(
                numbers.tolist(), cosines[APPEARANCE].tolist(), cosines[MOTION].tolist()
            )
        ]
        return sorted(found, key=lambda hit: (-hit.score, hit.row))

    def rows_of(self, video: int) -> NDArray[np.int64]:
        """Numbers of the rows of a video."""
        return np.flatnonzero(self.embeddings.video == video)

    def joint(self, motion: float) -> NDArray[np.float32]:
        """One vector ``(rows, width)`` for each row, so that the inner product of two is their score.

        ``[sqrt(1 - w) appearance, sqrt(w) motion]``: again of unit length.
        """
        if motion in (0, 1):
            return self.units[MOTION if motion else APPEARANCE]
        look, move = math.sqrt(1 - motion), math.sqrt(motion)
        return np.hstack([np.float32(look) * self.units[APPEARANCE], np.float32(move) * self.units[MOTION]])

    def _shortlist(
        self, query: Mapping[str, NDArray[np.float32]], motion: float, count: int
    ) -> NDArray[np.int64] | None:
        """Rows whose exact scores decide: those that the codes find near. None: all."""
        if self._codes is None or count > SHORTLIST:
            return None
        return self._codes.near(query, motion, count + SHORTLIST)


def refuse_useless(embeddings: Embeddings) -> None:
    """Refuse rows that cannot be searched.

    Raises:
        DataError: there is no row, or a vector is not finite.
    """
    if not len(embeddings):
        raise DataError("the file of embeddings has no row: there is nothing to search")
    for kind in NEEDED:
        bad = np.flatnonzero(~np.isfinite(embeddings.vectors[kind].sum(1, dtype=np.float64)))
        if len(bad):
            raise DataError(
                f"{counted(len(bad), 'row')} with a {kind} vector that is not finite, first that of "
                f"{printable(embeddings.paths[bad[0]])}: make the file again with bodvcl embed, from a "
                "checkpoint whose training did not diverge"
            )


def open_space(path: Path, *, many_queries: bool = True) -> Space:
    """Open a file of ``bodvcl embed`` for search.

    Args:
        path: the file.
        many_queries: see :class:`Space`.

    Raises:
        DataError: no such file, not a file of embeddings, or one that cannot be searched.
    """
    return Space(read_embeddings(path, NEEDED), many_queries=many_queries)


def _largest(score: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Places of the largest finite scores, in no order."""
    best = np.argpartition(-score, count)[:count] if count < len(score) else np.arange(len(score))
    return best[np.isfinite(score[best])]


def _weighted(
    units: Mapping[str, NDArray[np.float32]], query: Mapping[str, NDArray[np.float32]], motion: float
) -> NDArray[np.float32]:
    """Scores ``(rows,)``; what has no weight is not multiplied."""
    parts = [(APPEARANCE, 1 - motion), (MOTION, motion)]
    products = [np.float32(weight) * (units[name] @ query[name]) for name, weight in parts if weight]
    score: NDArray[np.float32] = sum(products[1:], start=products[0])
    return score
