"""Which videos of a data set are trained on, and how that is said."""

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
    """The videos to train on, each once, and one line for the user that says which they are."""

    videos: list[VideoInfo]
    text: str


def training_part(data: DatasetRows, videos: Sequence[VideoInfo]) -> TrainingPart:
    """The videos of the split train; where none has that name, all that are not for testing or a probe.

    Args:
        data: what the data set lists.
        videos: the usable videos of it.

    Raises:
        DataError: the split train has no usable video; or no split is to train on, but there are some to test
            on.
    """
    name = printable(data.name)
    if any(_trains(row.split) for row in data.rows):
        chosen = [video for video in videos if _trains(video.split)]
        which = f": split {TRAIN}"
        if not chosen:
            raise DataError(
                f"{name}: no video of its split {TRAIN} can be used (usable: {_counts(videos)}), and "
                "others are not trained on instead; bodvcl data scan says why"
            )
    else:
        chosen = [video for video in videos if not split_role(video.split) and not of_the_probe(video.split)]
        which = f": no split is called {TRAIN}, so on {_counts(chosen)}" if _named(videos) else ""
        if _named(chosen):
            which += f" (call the split to train on {TRAIN} to leave out the others)"
        if not chosen:
            raise DataError(
                f"{name}: no video to train on: its splits are {_counts(videos)}, which are never "
                f"trained on; call the split to train on {TRAIN}, or give these videos without splits (a "
                "list without a column split, or their folder itself)"
            )
    taken = {video.split for video in chosen}
    rest = [video for video in videos if video.split not in taken]
    once = first_of_same(chosen)
    contents = {video.content for video in chosen} - {""}
    also = [video for video in rest if video.content in contents]
    apart = [video for video in rest if video.content not in contents]
    left_out = f"; left out: {_counts(apart)}" if apart else ""
    left_out += f"; trained on although also in another split: {_counts(also)}" if also else ""
    of_all = f"{len(once):,} of {counted(len(first_of_same(videos)), 'video')}"
    return TrainingPart(once, f"trains on {of_all}{which}{left_out}")


def first_of_same(videos: Iterable[VideoInfo]) -> list[VideoInfo]:
    """The videos without those that hold the same as one before them (:attr:`VideoInfo.content`)."""
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
