"""Which videos train a probe and which test it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodvcl.data.video import VideoInfo
from bodvcl.evaluate.labels import class_name

TEST_NAMES = ("test", "val", "validation")
"""Endings of the names of splits that test; the first that labelled videos have is taken."""


@dataclass(frozen=True)
class Division:
    """The videos that take part in a probe, and what each is for."""

    rows: NDArray[np.int64]
    """Numbers of these videos in the list."""
    train: NDArray[np.bool_] | None
    """Which of these rows train; None where the data has no such splits and halves are to be drawn."""
    text: str
    """One line for the user."""


def divide(videos: Sequence[VideoInfo], seed: int = 0) -> Division:
    """Divide labelled videos by the split that their list names.

    Where there are splits named probe_*, only those count. A split whose name ends in "train" trains; one
    that ends in "test", or else in "val" or "validation", tests; others are left out. Without both, all
    videos take part and halves are drawn by ``seed`` for each label column.
    """
    labelled = [i for i, video in enumerate(videos) if any(map(class_name, video.labels.values()))]
    probe = [i for i in labelled if videos[i].split.startswith("probe")]
    candidates = probe or labelled
    ends = {ending: [i for i in candidates if videos[i].split.endswith(ending)] for ending in TEST_NAMES}
    training = [i for i in candidates if videos[i].split.endswith("train")]
    testing = next((rows for rows in ends.values() if rows), [])
    if not training or not testing:
        drawn = f"half of each class trains and the other half tests, drawn with seed {seed}"
        return Division(np.array(candidates, dtype=np.int64), None, f"no train and test split: {drawn}")
    rows = np.array(sorted(training + testing), dtype=np.int64)
    left_out = Counter(videos[i].split or "no split" for i in set(range(len(videos))) - set(rows.tolist()))
    text = f"splits of the data: {_names(videos, training)} trains, {_names(videos, testing)} tests"
    if left_out:
        text += "; left out: " + ", ".join(f"{count} of {name}" for name, count in sorted(left_out.items()))
    return Division(rows, np.isin(rows, training), text)


def label_columns(videos: Sequence[VideoInfo]) -> dict[str, list[str | None]]:
    """Label column to one value a video, ``None`` where a video has none; in order of appearance."""
    names = {name: None for video in videos for name in video.labels}
    return {name: [video.labels.get(name) for video in videos] for name in names}


def _names(videos: Sequence[VideoInfo], rows: Sequence[int]) -> str:
    counts = Counter(videos[i].split for i in rows)
    return " and ".join(f"{name} ({count:,} videos)" for name, count in counts.items())
