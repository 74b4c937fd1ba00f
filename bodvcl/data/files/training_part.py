"""Which videos of a data set are used for training, and how the user is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets import DatasetRows
from bodvcl.data.sets.split_names import TRAIN, of_the_probe, split_role
from bodvcl.errors import DataError
from bodvcl.text.words import counted, printable


@dataclass(frozen=True)
class TrainingPart:
    """The training videos, each once, and one line that describes them to the user."""

    videos: list[VideoInfo]
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
    if any(_trains(row.split) for row in data.rows):
        chosen = [video for video in videos if _trains(video.split)]
        which = f": split {TRAIN}"
        if not chosen:
            raise DataError(
                f"{name}: no video of its split {TRAIN} can be used (usable: {_counts(videos)}), and no "
                "other split is used instead; bodvcl data scan says why"
            )
    else:
        chosen = [video for video in videos if not split_role(video.split) and not of_the_probe(video.split)]
        which = f": no split is called {TRAIN}, used instead: {_counts(chosen)}" if _named(videos) else ""
        if _named(chosen):
            which += f" (name one split {TRAIN} to leave out the others)"
        if not chosen:
            raise DataError(
                f"{name}: no video to train on: its splits are {_counts(videos)}, which are never used for "
                f"training; name the training split {TRAIN}, or give these videos without splits (a "
                "list without a column split, or their folder itself)"
            )
    taken = {video.split for video in chosen}
    rest = [video for video in videos if video.split not in taken]
    once = first_of_same(chosen)
    contents = {video.content for video in chosen} - {""}
    also = [video for video in rest if video.content in contents]
    apart = [video for video in rest if video.content not in contents]
    left_out = f"; left out: {_counts(apart)}" if apart else ""
    left_out += f"; used for training although also in another split: {_counts(also)}" if also else ""
    of_all = f"{len(once):,} of {counted(len(first_of_same(videos)), 'video')}"
    return TrainingPart(once, f"trains on {of_all}{which}{left_out}")


def first_of_same(videos: Iterable[VideoInfo]) -> list[VideoInfo]:
    """The videos without repeats: the first of those with the same :attr:`VideoInfo.content` is kept."""
    kept: list[VideoInfo] = []
    seen: set[str] = set()
    for video in videos:
        if not video.content or video.content not in seen:
            kept.append(video)
            seen.add(video.content)
    return kept


def _trains(split: str) -> bool:
    return split_role(split) == TRAIN and not of_the_probe(split)


def _named(videos: Iterable[VideoInfo]) -> bool:
    return any(video.split for video in videos)


def _counts(videos: Sequence[VideoInfo]) -> str:
    counts = Counter(video.split for video in videos)
    return ", ".join(f"{printable(split) or 'no split'} ({count:,})" for split, count in counts.items())
