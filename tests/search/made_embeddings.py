"""Made files of embeddings whose neighbours are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bodvcl.embed.file import About, Embeddings


def embeddings(
    still: NDArray[np.floating],
    dynamic: NDArray[np.floating],
    *,
    paths: Sequence[str] | None = None,
    video: Sequence[int] | None = None,
    size: Sequence[int] | None = None,
    modified: Sequence[int] | None = None,
    labels: Mapping[str, Sequence[str | None]] | None = None,
    window: float | None = None,
) -> Embeddings:
    """Rows with these vectors; those of one video, which are neighbours, are windows of two seconds."""
    rows = len(still)
    number = np.arange(rows) if video is None else np.array(video)
    place = np.array([int((number[:row] == number[row]).sum()) for row in range(rows)])
    widths = {"still": still.shape[1], "dynamic": dynamic.shape[1]}
    labels = labels or {}
    about = About("0", "/run", "ab", 7, "videos", "bod", window, 3, {}, list(labels), widths)
    unknown = np.full(rows, -1)
    return Embeddings(
        paths=[f"/videos/{n}.mp4" for n in number.tolist()] if paths is None else paths,
        video=number,
        start=2.0 * place,
        end=2.0 * place + 2,
        size=unknown if size is None else np.array(size),
        modified=unknown if modified is None else np.array(modified),
        labels=labels,
        vectors={"still": still.astype(np.float32), "dynamic": dynamic.astype(np.float32)},
        about=about,
    )


def looks_and_movements(**options: object) -> Embeddings:
    """Twelve videos: three looks, four movements, one video of each pair, around a large common mean."""
    rng = np.random.default_rng(0)
    look, move = np.repeat(np.eye(3), 4, 0), np.tile(np.eye(4), (3, 1))
    still, dynamic = (
        10 + look + 0.01 * rng.normal(size=look.shape),
        5 + move + 0.01 * rng.normal(size=move.shape),
    )
    names: dict[str, list[str | None]] = {
        "scene": [f"scene {n // 4}" for n in range(12)],
        "split": ["train"] * 12,
        "gesture": [None if n == 9 else f"gesture {n % 4}" for n in range(12)],
    }
    return embeddings(still, dynamic, **{"labels": names, **options})  # type: ignore[arg-type]


def mixture(rows: int, widths: tuple[int, int], clusters: int = 40) -> Embeddings:
    """Rows around cluster centres, another division for appearance and for motion."""
    rng = np.random.default_rng(1)

    def part(width: int) -> NDArray[np.float64]:
        centres = rng.normal(size=(clusters, width))
        return centres[rng.integers(0, clusters, rows)] + 0.5 * rng.normal(size=(rows, width))

    return embeddings(part(widths[0]), part(widths[1]))
