"""The videos of a fine-tuning: which train, validate and test, and what their labels are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np

from bodvcl.config.schema import ClipConfig
from bodvcl.data.files.repeats import marked_repeats
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.randomness import generator
from bodvcl.data.sets import BuiltInSettings, VideoRow, open_dataset
from bodvcl.data.sets.spans import Shown
from bodvcl.data.sets.split_names import TEST, TRAIN, VAL, of_the_probe, split_role
from bodvcl.errors import ConfigError, DataError
from bodvcl.evaluate.columns import with_labels
from bodvcl.evaluate.end_of_run import spread
from bodvcl.evaluate.labels import class_name
from bodvcl.evaluate.several import choose_separator, hint
from bodvcl.evaluate.splits import Labelled, Video, divide, label_columns, refuse_shared
from bodvcl.evaluate.videos_to_probe import drop_overlap
from bodvcl.finetune.labels import Labels, choose_column, names_of
from bodvcl.finetune.options import FinetuneOptions
from bodvcl.text.words import counted, plain

_HOLD_OUT = 6  # purpose of these random numbers
_DRAW = 7
_NAMED = 3


@dataclass(frozen=True)
class TuningVideos(Generic[Video]):
    """The videos of a fine-tuning, scanned or only listed, and how they are labelled.

    Attributes:
        train: videos to train on.
        val: videos to validate on; perhaps none.
        test: videos to test on.
        labels: classes and targets.
    """

    train: Sequence[Video]
    val: Sequence[Video]
    test: Sequence[Video]
    labels: Labels


def find_tuning_videos(
    options: FinetuneOptions, clip: ClipConfig, say: Callable[[str], None]
) -> TuningVideos[VideoInfo]:
    """Scan the data, choose the label, and divide the videos as the probe does.

    Raises:
        DataError: no usable video; no labelled video trains, or none tests; a class that is only tested.
        ConfigError: several label columns and no ``--label``; a column that does not exist; flips where left
            and right matter for a class.
    """
    settings = BuiltInSettings(options.shapes, options.digits, options.scenes)
    found = scan(str(options.data), clip=clip, settings=settings, workers=options.workers)
    for line in found.summary():
        say(line)
    found.refuse_flip(options.augment.flip)
    return assign(found.videos, found.data.classes, options, say)


def listed_videos(options: FinetuneOptions, say: Callable[[str], None]) -> TuningVideos[VideoRow] | None:
    """As :func:`find_tuning_videos`, from the lists of the data alone; None: the data are in tar files."""
    settings = BuiltInSettings(options.shapes, options.digits, options.scenes)
    found = open_dataset(str(options.data), settings, workers=options.workers)
    if found.tars:
        return None
    return assign(marked_repeats(found.rows), found.classes, options, say)


def assign(
    every: Sequence[Video],
    official: Mapping[str, Sequence[str]],
    options: FinetuneOptions,
    say: Callable[[str], None],
) -> TuningVideos[Video]:
    """Choose the label, and divide the videos as the probe does.

    Args:
        every: videos with their labels and splits.
        official: label column to its classes in their official order.
        options: which label, and what tests and validates.
        say: takes lines for the user.

    Raises:
        DataError: no labelled video trains, or none tests; a class that is only tested.
        ConfigError: several label columns and no ``--label``; a column that does not exist.
    """
    columns = label_columns(every)
    column = choose_column(columns, options.label)
    separator = None
    if options.multi_label:
        separator, line = choose_separator(column, columns[column], options.separator)
        say(line)
    elif (line_or_none := hint(column, columns[column])) is not None:
        say(line_or_none)
    videos = with_labels(every, [column])
    if options.test.split != "auto":
        other = VAL if options.test.split == TEST else TEST
        videos = [video for video in videos if split_role(video.split) != other]
    if options.drop_overlap:
        videos = drop_overlap(videos, options.seed, say)
    train, test = _divided(videos, column, options, say)
    val, train = _to_validate(videos, train, test, column, options, say)
    if options.train_videos is not None:
        train = _drawn(train, column, options.train_videos, options.seed)
        say(f"{counted(len(train), 'video')} of them train (--train-videos)")
    known = {name for video in train for name in names_of(video, column, separator)}
    ordered = [name for text in official.get(column, ()) if (name := class_name(text)) in known]
    classes = tuple(filter(None, ordered)) if len(ordered) == len(known) else tuple(sorted(known))
    _refuse_untrained(column, separator, known, test)
    usable = [video for video in val if known.issuperset(names_of(video, column, separator))]
    if len(usable) < len(val):
        say(f"{len(val) - len(usable)} of them do not: no training video has their class")
    if len(classes) < 2:
        raise DataError(f"label {plain(column)}: all training videos have the same label; two are needed")
    return TuningVideos(train, usable, test, Labels(column, classes, separator))


def _divided(
    videos: Sequence[Video], column: str, options: FinetuneOptions, say: Callable[[str], None]
) -> tuple[list[Video], list[Video]]:
    """The videos that train and those that test."""
    division = divide(videos, options.seed)
    if division.train is None:
        labelled = [video for video in videos if class_name(video.labels.get(column)) is not None]
        roles = {split_role(video.split) for video in labelled}
        tests = "test or val" if options.test.split == "auto" else options.test.split
        missing = TRAIN if TRAIN not in roles and roles & {TEST, VAL} else tests
        raise DataError(
            f"no labelled video is in a split {missing}: label {plain(column)} needs videos to train and to "
            f"test on; add them, or a column split, to {options.data}"
        )
    refuse_shared(videos, division)
    say(division.text)
    bare = sum(split_role(v.split) == TRAIN and class_name(v.labels.get(column)) is None for v in videos)
    if bare:
        say(f"left out of the training, because they have no label: {counted(bare, 'video')}")
    train = [videos[row] for row in division.rows[division.train]]
    test = [videos[row] for row in division.rows[~division.train]]
    return train, test


def _to_validate(
    videos: Sequence[Video],
    train: list[Video],
    test: list[Video],
    column: str,
    options: FinetuneOptions,
    say: Callable[[str], None],
) -> tuple[Sequence[Video], list[Video]]:
    """The videos that validate, and those that are left to train."""
    if not options.validate_every:
        return [], train
    shown, names = Shown(train), {video.name for video in train}
    val = [
        video
        for video in videos
        if split_role(video.split) == VAL
        and split_role(test[0].split) != VAL
        and of_the_probe(video.split) == of_the_probe(train[0].split)
        and class_name(video.labels.get(column)) is not None
        and shown.also(video) is None
        and video.name not in names
    ]
    if val:
        chosen = spread(val, options.validate_videos)
        say(f"{counted(len(chosen), 'video')} of the val split validate")
        return chosen, train
    held = _held_out(train, column, options.hold_out, options.seed)
    if not held:
        say("no validation: no video is in a val split, and none is held out (--hold-out)")
        return [], train
    say(f"{counted(len(held), 'training video')} validate and do not train (--hold-out {options.hold_out:g})")
    validating = [train[row] for row in sorted(held)]
    rest = [video for row, video in enumerate(train) if row not in held]
    shown = Shown(validating)
    apart = [video for video in rest if shown.also(video) is None]
    if len(apart) < len(rest):
        dropped = counted(len(rest) - len(apart), "video")
        say(f"left out of the training, because they overlap with these: {dropped}")
    return spread(validating, options.validate_videos), apart


def _drawn(train: Sequence[Video], column: str, count: int, seed: int) -> list[Video]:
    """So many videos, drawn with the seed: one of each class, then a second one of each, and so on."""
    if count > len(train):
        raise ConfigError(f"--train-videos {count}: only {counted(len(train), 'video')} can train")
    by_class = _rows_of_classes(train, column)
    if count < len(by_class):
        raise ConfigError(f"--train-videos {count}: there are {len(by_class)} classes, each needs a video")
    turns = []
    for number, name in enumerate(sorted(by_class)):
        rows = generator(seed, _DRAW, 0, number).permutation(np.array(by_class[name]))
        turns += [(turn, number, row) for turn, row in enumerate(rows.tolist())]
    chosen = sorted(row for _, _, row in sorted(turns)[:count])
    return [train[row] for row in chosen]


def _rows_of_classes(train: Sequence[Labelled], column: str) -> dict[str, list[int]]:
    by_class: dict[str, list[int]] = {}
    for row, video in enumerate(train):
        by_class.setdefault(str(class_name(video.labels[column])), []).append(row)
    return by_class


def _held_out(train: Sequence[Labelled], column: str, share: float, seed: int) -> set[int]:
    """Rows of a share of each class, rounded down, drawn with the seed."""
    by_class = _rows_of_classes(train, column)
    held: set[int] = set()
    for number, name in enumerate(sorted(by_class)):
        rows = generator(seed, _HOLD_OUT, 0, number).permutation(np.array(by_class[name]))
        held.update(rows[: int(share * len(rows))].tolist())
    return held


def _refuse_untrained(column: str, separator: str | None, known: set[str], test: Sequence[Labelled]) -> None:
    alone = sorted({name for video in test for name in names_of(video, column, separator)} - known)
    if alone:
        more = f" and {len(alone) - _NAMED:,} more" if len(alone) > _NAMED else ""
        named = ", ".join(map(plain, alone[:_NAMED]))
        raise DataError(
            f"label {plain(column)}: {named}{more} can only be found among the "
            "videos to test on: nothing can learn it; add videos to train on, or take these out"
        )
