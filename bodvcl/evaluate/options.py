"""Options of evaluations on frozen features, and all of ``bodvcl probe`` but where it writes its results."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field

from bodvcl.config.command_line import Flag, argument
from bodvcl.config.schema import STRICT, ClipConfig, Seed, UserPath
from bodvcl.errors import ConfigError
from bodvcl.evaluate.names import ControlName, FlowName, Probe
from bodvcl.system.folders import cache_folder, expand

UNTRAINED = "untrained"
"""Given in place of a checkpoint, this means the encoder before its first training step."""

T = TypeVar("T")


def each_once(values: tuple[T, ...]) -> tuple[T, ...]:
    """The values without repetitions, in their order."""
    return tuple(dict.fromkeys(values))


def _expanded(checkpoint: str) -> str:
    return checkpoint if checkpoint == UNTRAINED else str(expand(checkpoint))


@dataclass
class ClipOptions:
    """How clips are cut from a video. A value that is given overrides the value of the run."""

    __pydantic_config__ = STRICT

    frames: Annotated[int, Field(ge=1)] | None = None
    """Frames per clip. None: the run's value."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Frames from one clip frame to the next. None: the run's value."""
    size: Annotated[int, Field(ge=1)] | None = None
    """Height and width of a clip in pixels. None: the run's value."""
    fps: Annotated[float, Field(gt=0)] | None = None
    """Frame rate that videos are resampled to. None: the run's value."""
    image_fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frame rate of folders of images, where a list has no column fps. None: the run's value."""
    short: Literal["refuse", "repeat"] | None = None
    """Videos shorter than a clip: refuse (leave them out), or repeat their last frame. None: the run's
    value."""

    def override(self, clip: ClipConfig) -> ClipConfig:
        """The run's clips with the values that are given here; ranges are not checked."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return dataclasses.replace(clip, **given)


@dataclass(kw_only=True)
class LabelledData:
    """Labelled videos, and how their frozen features are computed."""

    __pydantic_config__ = STRICT

    data: Annotated[str | None, argument(metavar="DATA")] = None
    """Labelled videos: a list, NAME:FOLDER, scenes, digits or shapes. None: the data of the run; if that has
    moved, its new place."""
    labels: Annotated[tuple[str, ...], argument(metavar="COLUMN [COLUMN ...]")] = ()
    """Label columns to probe. Without this option: every column that looks like a label."""
    drop_overlap: Flag = False
    """Leave videos that also train out of the test. Without it such data are refused."""
    clips_per_video: Annotated[int, Field(ge=1)] = 3
    """Clips per video; their features are averaged."""
    clip: ClipOptions = field(default_factory=ClipOptions)
    cache: Annotated[UserPath | None, argument(metavar="FOLDER")] = None
    """Folder where features are kept. None: bodvcl/features in the user's cache folder."""
    no_cache: Flag = False
    """Compute all features anew and keep none."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Decoding processes. 0: decode in this process. None: chosen from the number of cores."""
    seed: Seed = 0
    """Seed of all that is drawn: halves, controls, and the order of videos in sgd."""

    @property
    def feature_folder(self) -> Path | None:
        """Folder where features are kept; None: they are not kept."""
        return None if self.no_cache else self.cache or cache_folder("features")


@dataclass(kw_only=True)
class ProbeOptions(LabelledData):
    """Probe the frozen features of a trained encoder."""

    __pydantic_config__ = STRICT

    checkpoint: Annotated[UserPath, argument(metavar="RUN|FILE")]
    """Folder of a run of bodvcl train or bodvcl finetune, or its encoder.pt or classifier.pt."""
    probe: Annotated[tuple[Probe, ...], Field(min_length=1), AfterValidator(each_once)] = (
        "ridge",
        "knn",
        "retrieval",
    )
    """ridge: linear, in closed form. sgd: linear, trained as in the paper.
    knn: weighted vote of the nearest training videos. retrieval: R@k."""
    streams: Flag = False
    """Also probe the projector's mean embedding and its static and dynamic stream."""
    control: ControlName = "none"
    """Controlled clips (section 3.2 of the paper). static: one frame of the clip, repeated.
    dynamic: noise that moves as the video does. none: the clips as they are."""
    flow: FlowName = "auto"
    """Optical flow of --control dynamic. raft: RAFT. tvl1: TV-L1.
    auto: RAFT if its weights are on disk, else TV-L1."""
    against: Annotated[
        str | None,
        AfterValidator(lambda given: given and _expanded(given)),
        argument(metavar="RUN|FILE|untrained"),
    ] = None
    """Second encoder to compare with, on the same videos: a run, a file, or untrained, which is the encoder
    before its first step."""
    k: Annotated[int, Field(ge=1)] = 200
    """Neighbours that vote in knn."""
    temperature: Annotated[float, Field(gt=0)] = 0.07
    """Temperature of the votes in knn."""
    multi_label: Flag = False
    """A video can have several classes, written in one cell of the columns of --labels. Reports mAP."""
    separator: Annotated[str, Field(min_length=1)] | None = None
    """Text between the classes of a cell (--multi-label). None: ; or |, whichever the column has.
    A list in JSON is understood, too."""


def refuse_contradictions(options: ProbeOptions) -> None:
    """Raise :class:`~bodvcl.errors.ConfigError` for options that contradict each other."""
    if options.flow != "auto" and options.control != "dynamic":
        raise ConfigError(f"--flow {options.flow} applies only to --control dynamic; add --control dynamic")
    if options.multi_label and not options.labels:
        raise ConfigError("--multi-label: name the columns whose cells hold several classes with --labels")
    if options.multi_label and "sgd" in options.probe:
        raise ConfigError("--multi-label: sgd knows only one class per video; use ridge, knn or retrieval")
    if options.separator is not None and not options.multi_label:
        raise ConfigError("--separator applies only to --multi-label; add it")
    refuse_two_caches(options)


def refuse_two_caches(options: LabelledData) -> None:
    """Raise :class:`~bodvcl.errors.ConfigError` where a cache is both named and switched off."""
    if options.no_cache and options.cache is not None:
        raise ConfigError("--cache and --no-cache contradict each other; drop one of them")
