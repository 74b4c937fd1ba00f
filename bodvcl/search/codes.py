"""Codes of four bits that stand for the rows of a large file: a query scans all of them, and none is skipped.

A product quantiser (Jegou, Douze, Schmid 2011) cuts ``[appearance, motion]`` into short pieces and codes each
piece by the nearest of 16. The inner product with the query ``[(1 - w) a, w m]`` is a sum of table entries,
which FAISS keeps in registers ("fast scan", Andre, Kermarrec, Le Scouarnec 2015). One set of codes serves
every weight, which cells of neighbours would not: rows near by appearance are not near by motion.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bodvcl.search.looks import APPEARANCE, MOTION

PIECES = 128
"""Largest number of pieces of the vector of appearance, and of that of motion: half a byte each."""
_TRAIN, _AT_ONCE = 4096, 50_000


def faiss_is_there() -> bool:
    """Whether FAISS is installed."""
    return importlib.util.find_spec("faiss") is not None


class Codes:
    """Codes of all rows.

    Args:
        units: "appearance" and "motion" to float32 ``(rows, width)``.
    """

    def __init__(self, units: Mapping[str, NDArray[np.float32]]) -> None:
        import faiss

        self._units = units
        self._piece = max(1, *(-(-part.shape[1] // PIECES) for part in units.values()))
        rows = len(units[APPEARANCE])
        width = self._padded(slice(0, 1), 1, 1).shape[1]
        self._index = faiss.IndexPQFastScan(width, width // self._piece, 4, faiss.METRIC_INNER_PRODUCT)
        some = np.random.default_rng(0).permutation(rows)[:_TRAIN]
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # 256 small problems: threads would wait for each other
        self._index.train(self._padded(np.sort(some), 1, 1))
        faiss.omp_set_num_threads(threads)
        for start in range(0, rows, _AT_ONCE):
            self._index.add(self._padded(slice(start, start + _AT_ONCE), 1, 1))

    def near(self, query: Mapping[str, NDArray[np.float32]], motion: float, count: int) -> NDArray[np.int64]:
        """Numbers of ``count`` rows, about those with the largest scores, in no order."""
        asked = _side_by_side(
            {name: part[None] for name, part in query.items()}, 1 - motion, motion, self._piece
        )
        found: NDArray[np.int64] = self._index.search(asked, min(count, self._index.ntotal))[1][0]
        return found[found >= 0]

    def _padded(self, rows: slice | NDArray[np.int64], look: float, move: float) -> NDArray[np.float32]:
        return _side_by_side(
            {name: part[rows] for name, part in self._units.items()}, look, move, self._piece
        )


def _side_by_side(
    parts: Mapping[str, NDArray[np.float32]], look: float, move: float, piece: int
) -> NDArray[np.float32]:
    """``[look * appearance, move * motion]``, each with zeros up to a multiple of ``piece``."""
    weighted = ((parts[APPEARANCE], look), (parts[MOTION], move))
    return np.hstack(
        [
            np.pad(np.float32(weight) * part, ((0, 0), (0, -part.shape[1] % piece)))
            for part, weight in weighted
        ]
    )
