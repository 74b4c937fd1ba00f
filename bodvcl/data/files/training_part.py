"""Which videos of a data set are used for training, and how the user is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bodvcl.data.files.columns import counts, kinds, taken, where
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets import DatasetRows
from bodvcl.data.sets.split_names import TRAIN, of_the_probe, split_role
from bodvcl.errors import DataError
from bodvcl.text.words import counted, printable


@dataclass(frozen=True)
class TrainingPart:
    """The training videos, each once, and one line that describes them to the user."""

    videos: Sequence[VideoInfo]
    text: str


def training_part(data: DatasetRows, videos: Sequence[VideoInfo]) -> TrainingPart:
    """The videos of the split train; without such a split, all videos that are not for testing or the probe.

    Args:
        data: what the data set lists.
        videos: its usable videos.

    Raises:
        DataError: the split train has no usable video, or all videos are for testing or the probe.
    """
    name = printable(data.name)
    trains = where(videos, "split", _trains)
    if any(map(_trains, data.splits)) or trains.any():
        chosen = trains
        which = f": split {TRAIN}"
        if not chosen.any():
            raise DataError(
                f"{name}: no video of its split {TRAIN} can be used (usable: {_counts(videos)}), and no "
                "other split is used instead; bodvcl data scan says why"
            )
    else:
        chosen = where(videos, "split", lambda split: not split_role(split) and not of_the_probe(split))
        which = ""
        if where(videos, "split", bool).any():
            which = f": no split is called {TRAIN}, used instead: {_counts(taken(videos, chosen))}"
        if (chosen & where(videos, "split", bool)).any():
            which += f" (name one split {TRAIN} to leave out the others)"
        if not chosen.any():
            raise DataError(
                f"{name}: no video to train on: its splits are {_counts(videos)}, which are never used for "
                f"training; name the training split {TRAIN}, or give these videos without splits (a "
                "list without a column split, or their folder itself)"
            )
    contents = set(counts(taken(videos, chosen), "content")) - {""}
    also = ~chosen & where(videos, "content", contents.__contains__)
    apart = ~chosen & ~also
    once = first_of_same(taken(videos, chosen))
    left_out = f"; left out: {_counts(taken(videos, apart))}" if apart.any() else ""
    if also.any():
        left_out += f"; used for training although also in another split: {_counts(taken(videos, also))}"
    of_all = f"{len(once):,} of {counted(len(first_of_same(videos)), 'video')}"
    return TrainingPart(once, f"trains on {of_all}{which}{left_out}")


def first_of_same(videos: Sequence[VideoInfo]) -> Sequence[VideoInfo]:
    """The videos without repeats: the first of those with the same :attr:`VideoInfo.content` is kept."""
    _, first = kinds(videos, ["content"])
    repeated = np.ones(len(videos), bool)
    repeated[first] = False
    unlike = where(videos, "content", lambda content: not content)
    return taken(videos, unlike | ~repeated)


def _trains(split: str) -> bool:
    return split_role(split) == TRAIN and not of_the_probe(split)


def _counts(videos: Sequence[VideoInfo]) -> str:
    found = counts(videos, "split")
    return ", ".join(f"{printable(split) or 'no split'} ({count:,})" for split, count in found.items())
