"""What a scan says of videos that are folders of images."""

from __future__ import annotations

from collections.abc import Sequence

from bodvcl.data.files.columns import Columns
from bodvcl.data.files.images import missing_numbers
from bodvcl.data.files.video import VideoInfo
from bodvcl.text.words import counted, printable

_NAMED = 3  # gaps of one folder


def images_report(videos: Sequence[VideoInfo]) -> tuple[list[str], list[str]]:
    """Lines for the user: the frame rate at which images are taken; a heading and folders with gaps."""
    if isinstance(videos, Columns):  # videos in tar files are no folders
        return [], []
    folders = [video for video in videos if video.images]
    if not folders:
        return [], []
    rates = sorted({video.fps for video in folders})
    told = f"{rates[0]:g}" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g}"
    rate = (
        f"note: {counted(len(folders), 'video')} are folders of images, which have no times: taken as {told} "
        "frames per second (a column fps in a list, or --clip.image-fps, says another rate)"
    )
    gaps = [(video, missing) for video in folders if (missing := missing_numbers(video.whole or video))]
    heading = [f"numbers of images are missing in {counted(len(gaps), 'folder')}:"] if gaps else []
    return [rate], [*heading, *(f"{printable(video.path)}: {_ranges(missing)}" for video, missing in gaps)]


def _ranges(missing: Sequence[tuple[int, int]]) -> str:
    told = [f"{first} to {last}" if last > first else f"{first}" for first, last in missing[:_NAMED]]
    more = f" and {len(missing) - _NAMED:,} more gaps" if len(missing) > _NAMED else ""
    return ", ".join(told) + more
