"""The labelled videos that a probe takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bodvcl.config.schema import ClipConfig, TrainConfig
from bodvcl.data.files.clip_fit import required_frames
from bodvcl.data.files.repeats import marked_repeats
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets import BuiltInSettings, built_in, open_dataset
from bodvcl.engine.checkpoint import training_folder
from bodvcl.errors import DataError
from bodvcl.evaluate.options import ProbeOptions
from bodvcl.evaluate.run_data import data_of_run
from bodvcl.evaluate.splits import Video, divide, refuse_shared, without_shared
from bodvcl.text.words import counted


def find_videos(
    options: ProbeOptions, config: TrainConfig, say: Callable[[str], None]
) -> Sequence[VideoInfo]:
    """The videos of ``--data``, or else of the run, that hold a clip of ``config``.

    Raises:
        DataError: no video can be used.
    """
    data = options.data
    if data is None:
        data, line = data_of_run(config.data, options.checkpoint, training_folder(options.checkpoint))
        if line is not None:
            say(line)
    settings = BuiltInSettings.of(config)
    found = scan(data, clip=config.clip, settings=settings, workers=options.workers)
    for line in found.summary():
        say(line)
    return found.videos


def refuse_listed_overlap(options: ProbeOptions) -> None:
    """Refuse a list that names a file both to train on and to test on, before anything is opened.

    Raises:
        DataError: names these files.
    """
    if options.data is None or built_in(options.data) or options.drop_overlap:
        return
    rows = marked_repeats(open_dataset(options.data).rows)
    refuse_shared(rows, divide(rows, options.seed))


def drop_overlap(videos: Sequence[Video], seed: int, say: Callable[[str], None]) -> list[Video]:
    """The videos without those that would test although they also train.

    Raises:
        DataError: no test video is left.
    """
    kept = without_shared(videos, seed)
    if len(kept) < len(videos) and divide(kept, seed).train is None:
        raise DataError("every test video also trains; give other videos to test on with --data")
    if len(kept) < len(videos):
        say(f"left out of the test, because they also train: {counted(len(videos) - len(kept), 'video')}")
    return kept


def long_enough(videos: Sequence[VideoInfo], clip: ClipConfig, say: Callable[[str], None]) -> list[VideoInfo]:
    """The videos that also hold a clip of the other encoder.

    Raises:
        DataError: there are none.
    """
    if clip.short == "repeat":
        return list(videos)
    kept = [video for video in videos if required_frames(video, clip) <= video.frames]
    if len(kept) < len(videos):
        say(
            f"{len(videos) - len(kept)} of {len(videos)} videos are too short for the other encoder: left out"
        )
    if not kept:
        raise DataError(
            f"every video is too short for the other encoder's clips of {clip.frames} frames with stride "
            f"{clip.stride}; set clips for both with --clip.frames and --clip.stride"
        )
    return kept
