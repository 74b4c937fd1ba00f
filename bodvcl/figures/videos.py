"""The videos that all runs of a page are compared on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets import BuiltInSettings, built_in
from bodvcl.data.sets.split_names import TEST, VAL, split_role
from bodvcl.engine.checkpoint import training_folder
from bodvcl.errors import DataError
from bodvcl.evaluate.end_of_run import spread
from bodvcl.evaluate.run_data import data_of_run
from bodvcl.evaluate.videos_to_probe import drop_overlap, find_videos, long_enough, refuse_listed_overlap
from bodvcl.figures.opened import OpenedRun
from bodvcl.figures.options import FigureOptions


def data_name(options: FigureOptions, runs: Sequence[OpenedRun]) -> str:
    """The data that all runs are compared on, as ``--data`` takes them.

    Raises:
        DataError: the runs were trained on different data, and ``--data`` does not choose.
    """
    if options.data is not None:
        return options.data
    first, *others = [_own_data(run) for run in runs]
    for run, data in zip(runs[1:], others):
        if data != first:
            raise DataError(
                f"{runs[0].name} was trained on {runs[0].config.data} and {run.name} on {run.config.data}, "
                "or with other settings of it: give the videos to compare them on with --data"
            )
    return runs[0].config.data


def common_videos(
    options: FigureOptions, runs: Sequence[OpenedRun], say: Callable[[str], None]
) -> Sequence[VideoInfo]:
    """The videos that hold a clip of every run.

    Raises:
        DataError: there are none, or the runs have different data.
    """
    data_name(options, runs)
    refuse_listed_overlap(options)
    videos = find_videos(options, runs[0].path, runs[0].config, say)
    for run in runs[1:]:
        videos = long_enough(videos, run.config.clip, say)
    return drop_overlap(videos, options.seed, say) if options.drop_overlap else videos


def held_out(videos: Sequence[VideoInfo], count: int) -> list[VideoInfo]:
    """At most ``count`` videos, evenly spread: of the test split, else of val, else of all."""
    parts = ([video for video in videos if split_role(video.split) == role] for role in (TEST, VAL))
    return spread(next(filter(None, parts), list(videos)), count)


def _own_data(run: OpenedRun) -> tuple[str, Any]:
    """Where the data of a run are, and with which settings they were rendered."""
    data, _ = data_of_run(run.config.data, run.path, training_folder(run.path))
    entry = built_in(data)
    if entry is None:
        return data, None
    settings: Any = getattr(BuiltInSettings.of(run.config), entry.name)
    return data, dataclasses.replace(settings, cache=None)
