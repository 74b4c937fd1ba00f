"""The file analysis.npz: arrays of the untrained and the pre-trained encoder, and example frames."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodvcl.runs.folder import write_atomically


@dataclass(frozen=True)
class Analysis:
    """Arrays of one encoder on N clips of T frames."""

    eigenvalues: NDArray[np.complex64]
    """(N, T - 1): eigenvalues of each clip's Koopman operator; NaN for directions that were dropped."""
    weights: NDArray[np.float32]
    """(N, T - 1): share of each mode that goes to the static stream, ``|m(lambda)|``, from 0 to 1."""
    static_modes: NDArray[np.float32]
    """(N,): number of static modes of each clip; with the smooth mask not a whole number."""
    similarity: NDArray[np.float32]
    """(T, T): cosine similarity of backbone frames (Eq. 26), mean over clips."""
    lag_mean: NDArray[np.float32]
    """(T,): mean similarity by lag: the mean of each super-diagonal."""
    lag_low: NDArray[np.float32]
    """(T,): 10th percentile over clips of the similarity by lag."""
    lag_high: NDArray[np.float32]
    """(T,): 90th percentile."""


def save_analysis(
    path: Path,
    after: Analysis,
    before: Analysis | None = None,
    examples: NDArray[np.uint8] | None = None,
    captions: Sequence[str] = (),
) -> None:
    """Write ``analysis.npz``, atomically.

    Args:
        path: the file.
        after: arrays of the pre-trained encoder.
        before: arrays of the untrained encoder, to compare with.
        examples: uint8 ``(E, L, H, W, 3)``: the frames of E clips.
        captions: a line of text for each example, or nothing.

    Raises:
        OSError: the file cannot be written; an earlier file is untouched.
    """
    arrays = {f"after_{name}": value for name, value in asdict(after).items()}
    if before is not None:
        arrays |= {f"before_{name}": value for name, value in asdict(before).items()}
    if examples is not None:
        arrays["examples"] = examples
        arrays["captions"] = np.array(list(captions), dtype=np.str_)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


@dataclass(frozen=True)
class SavedAnalysis:
    """What :func:`save_analysis` wrote."""

    after: Analysis
    before: Analysis | None
    examples: NDArray[np.uint8] | None
    captions: list[str]


def load_analysis(path: Path) -> SavedAnalysis:
    """Read ``analysis.npz``.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not an archive of arrays.
        KeyError: an array is missing.
    """
    with np.load(path, allow_pickle=False) as arrays:
        parts = {
            part: Analysis(**{f.name: arrays[f"{part}_{f.name}"] for f in fields(Analysis)})
            for part in ("after", "before")
            if f"{part}_eigenvalues" in arrays
        }
        return SavedAnalysis(
            after=parts["after"],
            before=parts.get("before"),
            examples=arrays.get("examples"),
            captions=[str(line) for line in arrays["captions"]] if "captions" in arrays else [],
        )
