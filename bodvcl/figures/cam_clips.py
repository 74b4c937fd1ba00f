"""The clips that Grad-CAM is drawn on: the same frames for every run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.draws import ClipDraws, plain_draws
from bodvcl.data.clips.plan import collect
from bodvcl.data.files.clip_fit import clip_offsets, clip_times, why_unfit
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.pyav_clips import load_clips
from bodvcl.errors import ConfigError, DataError
from bodvcl.figures.opened import OpenedRun
from bodvcl.system.folders import expand
from bodvcl.text.moments import video_and_seconds

WITHOUT_TIME = 0.25
"""Where a clip begins whose second is not given, as a share of the possible starts: the first of two clips
that are spread evenly over the video."""
_FURTHEST = np.nextafter(1.0, 0.0)


class CamVideo(NamedTuple):
    """A clip to look at.

    Attributes:
        info: its video.
        where: its start, as a share of all starts that fit, in [0, 1).
    """

    info: VideoInfo
    where: float

    @property
    def other(self) -> float:
        """Start of the other clip of the video: the first or the last that fits, the one further away."""
        return 0.0 if self.where >= 0.5 else float(_FURTHEST)

    def draws(self, clip: ClipConfig) -> ClipDraws:
        """The clip and the other one."""
        return plain_draws(self.info, clip, np.array([self.where, self.other]))


def asked_videos(texts: Sequence[str], clip: ClipConfig) -> list[CamVideo]:
    """The clips of ``--cam VIDEO[@SECONDS] ...``.

    Args:
        texts: what the user gave.
        clip: length, stride and frame rate.

    Raises:
        DataError: a file that cannot be read as a video, or is shorter than a clip.
        ConfigError: no clip begins at that second.
    """
    return [_asked(text, clip) for text in texts]


def same_clip(runs: Sequence[OpenedRun]) -> ClipConfig:
    """Length, stride and frame rate of the clips of all runs; their sizes may differ.

    Raises:
        ConfigError: they differ, so that frames of one sheet would not be of one time.
    """
    first = runs[0]
    for run in runs[1:]:
        if _timing(run.config.clip) != _timing(first.config.clip):
            raise ConfigError(
                f"cam shows the same frames for all runs, but {first.name} has "
                f"{_in_words(first.config.clip)} and {run.name} has {_in_words(run.config.clip)}: choose "
                "the same for all with --clip.frames, --clip.stride and --clip.fps"
            )
    return first.config.clip


def read_pair(video: CamVideo, clip: ClipConfig) -> ClipBatch:
    """A batch of the clip and the other one, each cut to the largest centred square.

    Args:
        video: the clip.
        clip: length, stride, frame rate and size.

    Raises:
        BadVideo: a frame cannot be decoded.
    """
    draws = video.draws(clip)
    clips = torch.empty((2, clip.frames, clip.size, clip.size, 3), dtype=torch.uint8)
    load_clips(video.info, draws, clip, 1.0, clips)
    return collect(clips, [0], [draws])


def pictures(video: CamVideo, clip: ClipConfig, size: int) -> NDArray[np.uint8]:
    """The clip as it is shown, in the same square as the network gets it: uint8 ``(L, size, size, 3)``."""
    shown: Tensor = read_pair(video, dataclasses.replace(clip, size=size)).clips[0]
    return shown.numpy()


def _asked(text: str, clip: ClipConfig) -> CamVideo:
    name, seconds = video_and_seconds(text, lambda name: expand(name).exists(), "--cam")
    path = expand(name)
    info = probe_video(path)
    unfit = why_unfit(info, clip)
    if unfit is not None:
        raise DataError(f"--cam {path}: {unfit}")
    return CamVideo(info, WITHOUT_TIME if seconds is None else _start(info, clip, seconds, text))


def _start(info: VideoInfo, clip: ClipConfig, seconds: float, text: str) -> float:
    """The start of the clip whose first frame is shown at that second."""
    times, last = info.playing_times(), float(clip_offsets(clip)[-1])
    if clip.fps is None:
        if not info.time_base:
            raise DataError(
                f"--cam {text}: neither its timestamps nor its header say when its frames are shown; "
                "leave out @SECONDS"
            )
        starts = max(info.frames - int(last), 1)
        frame = int(np.searchsorted(times, seconds + 1e-6, side="right")) - 1
        latest, where = float(times[starts - 1]), (frame + 0.5) / starts
    else:
        latest = max(float(clip_times(info, last / clip.fps)[-1]) - last / clip.fps, 0.0)
        where = seconds / latest if latest else 0.0
    if seconds > latest + 1 / (info.fps or 1):
        raise ConfigError(
            f"--cam {text}: the video is {times[-1]:.2f} s long, and the last clip begins at {latest:.2f} s; "
            "give an earlier second"
        )
    return min(where, float(_FURTHEST))


def _timing(clip: ClipConfig) -> tuple[object, ...]:
    return clip.frames, clip.stride, clip.fps, clip.spacing


def _in_words(clip: ClipConfig) -> str:
    rate = "" if clip.fps is None else f" at {clip.fps:g} fps"
    evenly = ", spread evenly" if clip.spacing == "linspace" else ""
    return f"{clip.frames} frames of stride {clip.stride}{rate}{evenly}"
