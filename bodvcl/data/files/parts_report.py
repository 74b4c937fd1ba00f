"""What a scan says of videos that are parts of files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bodvcl.data.files.columns import Columns
from bodvcl.data.files.training_part import first_of_same
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets.spans import Shown, files_of
from bodvcl.data.sets.split_names import TEST, TRAIN, VAL, split_role
from bodvcl.text.words import counted, printable

_NAMED = 3


def parts_report(videos: Sequence[VideoInfo]) -> list[str]:
    """Lines for the user: how many videos are parts, and of which files some train and others test."""
    if isinstance(videos, Columns):  # videos in tar files are whole
        return []
    parts = [video for video in first_of_same(videos) if video.whole is not None]
    if not parts:
        return []
    lines = [
        f"parts of longer files: {counted(len(parts), 'video')} from {counted(len(files_of(parts)), 'file')}"
    ]
    roles: dict[str, list[VideoInfo]] = defaultdict(list)
    for video in videos:
        if video.span is not None:
            roles[split_role(video.split)].append(video)
    trains, tests = roles[TRAIN], [*roles[VAL], *roles[TEST]]
    both = sorted(files_of(trains) & files_of(tests))
    if both:
        named = ", ".join(map(printable, both[:_NAMED])) + (", ..." if len(both) > _NAMED else "")
        lines.append(f"note: {counted(len(both), 'file')} with parts both in train and in test: {named}")
    shown = Shown(trains)
    pairs = [
        (test, trains[number])
        for test in tests
        if (number := shown.also(test)) is not None
        and not (test.content and test.content == trains[number].content)
    ]
    if pairs:
        test, train = pairs[0]
        lines.append(
            f"note: {counted(len(pairs), 'test video')} overlap with training videos, for example "
            f"{printable(test.name)} ({test.split}) with {printable(train.name)} ({train.split})"
        )
    return lines
