"""The verb ``probe``: checkpoint and labelled videos to scores."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import bodvcl
from bodvcl.config.parse import validate
from bodvcl.config.schema import ClipConfig, TrainConfig
from bodvcl.data.files.clip_fit import required_frames
from bodvcl.data.files.repeats import marked_repeats
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets import BuiltInSettings, built_in, open_dataset
from bodvcl.engine.checkpoint import load_run, training_folder
from bodvcl.engine.device import pick_device
from bodvcl.engine.learner import untrained_encoder
from bodvcl.errors import ConfigError, DataError
from bodvcl.evaluate.columns import LabelChoice, choose_labels, look_alikes
from bodvcl.evaluate.controls import Control, DynamicControl, StaticControl
from bodvcl.evaluate.features import KINDS
from bodvcl.evaluate.flow import Flow, choose_flow
from bodvcl.evaluate.names import ControlName, FlowName, Probe
from bodvcl.evaluate.probe import Score, left_out_scores, probe_videos
from bodvcl.evaluate.probe_report import ProbeReport
from bodvcl.evaluate.run_data import data_of_run
from bodvcl.evaluate.splits import divide, label_columns, refuse_shared, without_shared
from bodvcl.evaluate.video_features import VideoFeatures, video_features
from bodvcl.models.encoder import VideoEncoder
from bodvcl.system.global_state import restored
from bodvcl.text.words import counted, plain, suggestion

UNTRAINED = "untrained"
"""Stands for the encoder before its first training step where another checkpoint is expected."""
POOLED = ("backbone",)
"""Kinds of features that are probed without the streams."""
_USABLE = "a label needs two classes or more, each with videos to train and to test on"


@dataclass(frozen=True)
class ProbeOptions:
    """What to probe and how; see ``bodvcl probe --help``."""

    checkpoint: Path
    data: str | None = None
    labels: Sequence[str] = ()
    probes: Sequence[Probe] = ("ridge", "knn", "retrieval")
    streams: bool = False
    control: ControlName = "none"
    flow: FlowName = "auto"
    clips_per_video: int = 3
    clip: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the run's clip configuration to replace."""
    k: int = 200
    temperature: float = 0.07
    against: str | None = None
    cache: Path | None = None
    drop_overlap: bool = False
    """Leave videos that are both to train on and to test on out of the test, instead of refusing them."""
    device: str = "auto"
    workers: int | None = None
    seed: int = 0


@restored()
def run_probe(options: ProbeOptions, say: Callable[[str], None] = print) -> ProbeReport:
    """Probe an encoder on labelled videos; lines for the user go to ``say``. Global state of PyTorch is
    put back at the end.

    Raises:
        UserError: a checkpoint, data, labels or options that cannot be used; see the class's subclasses.
    """
    device = pick_device(options.device)
    _refuse_listed(options)
    encoder, config = _open(options.checkpoint, options.clip)
    other = _other(options, config)
    flow = choose_flow(options.flow, device) if options.control == "dynamic" else None
    videos = _videos(options, config, say)
    if other is not None:
        videos = _long_enough(videos, other[1].clip, say)
    if options.drop_overlap:
        videos = _without_shared(videos, options.seed, say)
    choice = _labels(videos, options.labels, options.seed)
    division, columns = choice.division, choice.labels
    refuse_shared(videos, division)
    chosen = [videos[row] for row in division.rows]
    for line in (*_about_labels(choice), division.text):
        say(line)
    control = _control(options, config.clip, flow)
    if control is not None:
        say(control.name)

    def features(of: VideoEncoder, its: TrainConfig, name: str) -> VideoFeatures:
        return video_features(
            of,
            its,
            chosen,
            device,
            name=name,
            clips_per_video=options.clips_per_video,
            control=_control(options, its.clip, flow),
            cache=options.cache,
            workers=options.workers,
            say=say,
        )

    found = [features(encoder, config, str(options.checkpoint))]
    if other is not None:
        found.append(features(*other, str(options.against)))
    rows = functools.reduce(np.intersect1d, [features.rows for features in found])
    if len(rows) < len(chosen):
        say(f"{len(chosen) - len(rows)} of {len(chosen)} videos could not be read and are left out")

    kinds = KINDS if options.streams else POOLED

    def scores(its: VideoFeatures) -> list[Score]:
        places = np.searchsorted(its.rows, rows)
        return probe_videos(
            {kind: its.kinds[kind][places] for kind in kinds},
            {name: [column[row] for row in rows] for name, column in columns.items()},
            None if division.train is None else division.train[rows],
            options.seed,
            probes=options.probes,
            k=options.k,
            temperature=options.temperature,
        )

    tables = [scores(its) for its in found]
    if all(score.skipped for score in tables[0]):
        reasons = dict.fromkeys(f"{score.semantic}: {score.skipped}" for score in tables[0])
        raise DataError(f"no label can be probed ({'; '.join(reasons)})")
    tables = [table + left_out_scores(kinds, choice.left_out, options.probes[0]) for table in tables]
    fewest = min(
        (score.train for score in tables[0] if score.probe == "knn" and not score.skipped), default=options.k
    )
    if fewest < options.k:
        say(f"knn: k is {options.k}, but there are only {fewest} videos to train on: all of them vote")
    facts = {
        "bodvcl": bodvcl.__version__,
        "checkpoint": str(options.checkpoint),
        "against": options.against,
        "data": config.data if options.data is None else options.data,
        "split": division.text,
        "videos": len(rows),
        "clip": dataclasses.asdict(config.clip),
        "clips_per_video": options.clips_per_video,
        "control": "none" if control is None else control.name,
        "k": options.k,
        "temperature": options.temperature,
        "seed": options.seed,
    }
    return ProbeReport(facts, *tables)


def _open(path: Path, clip: Mapping[str, Any]) -> tuple[VideoEncoder, TrainConfig]:
    encoder, config = load_run(path)
    return encoder, validate(dataclasses.asdict(replace(config, clip=replace(config.clip, **clip))))


def _other(options: ProbeOptions, config: TrainConfig) -> tuple[VideoEncoder, TrainConfig] | None:
    if options.against is None:
        return None
    if options.against == UNTRAINED:
        return untrained_encoder(config), config
    return _open(Path(options.against), options.clip)


def _control(options: ProbeOptions, clip: ClipConfig, flow: Flow | None) -> Control | None:
    if flow is not None:
        return DynamicControl(options.seed, flow, clip.stride)
    return StaticControl(options.seed) if options.control == "static" else None


def _videos(options: ProbeOptions, config: TrainConfig, say: Callable[[str], None]) -> list[VideoInfo]:
    data = config.data if options.data is None else options.data
    if options.data is None:
        data, line = data_of_run(data, options.checkpoint, training_folder(options.checkpoint))
        if line is not None:
            say(line)
    settings = BuiltInSettings(config.shapes, config.digits)
    found = scan(data, clip=config.clip, settings=settings, workers=options.workers)
    for line in found.summary():
        say(line)
    return found.videos


def _refuse_listed(options: ProbeOptions) -> None:
    """Refuse a list that has a file both to train on and to test on before anything is opened."""
    if options.data is None or built_in(options.data) or options.drop_overlap:
        return
    rows = marked_repeats(open_dataset(options.data).rows)
    refuse_shared(rows, divide(rows, options.seed))


def _without_shared(
    videos: Sequence[VideoInfo], seed: int, say: Callable[[str], None]
) -> Sequence[VideoInfo]:
    kept = without_shared(videos, seed)
    if len(kept) < len(videos) and divide(kept, seed).train is None:
        raise DataError("every video to test on trains too; give --data with others to test on")
    if len(kept) < len(videos):
        say(f"left out of the test, because they train too: {counted(len(videos) - len(kept), 'video')}")
    return kept


def _long_enough(
    videos: Sequence[VideoInfo], clip: ClipConfig, say: Callable[[str], None]
) -> list[VideoInfo]:
    """The videos that hold a clip of the other encoder."""
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
            f"{clip.stride}; set clips for both, with --clip.frames and --clip.stride"
        )
    return kept


def _labels(videos: Sequence[VideoInfo], wanted: Sequence[str], seed: int) -> LabelChoice:
    """Label columns to probe, and which videos train and test.

    Raises:
        DataError: no column can be probed.
        ConfigError: a column was asked for that is not there, or cannot be probed.
    """
    columns = label_columns(videos)
    if not columns:
        raise DataError(
            "no video has a label; a probe needs a .csv list with label columns, a folder per class "
            "(class-folders:FOLDER), or a labelled data set by name: give it with --data"
        )
    there = f"there are: {', '.join(map(plain, columns))}"
    for name in wanted:
        if name not in columns:
            raise ConfigError(f"--labels {plain(name)}: no such column{suggestion(name, columns)}; {there}")
    choice = choose_labels(videos, wanted, seed)
    reasons = "; ".join(f"{plain(name)}: {why}" for name, why in choice.left_out.items())
    if wanted and choice.left_out:
        raise ConfigError(f"--labels: {reasons}; choose among other columns ({there}): {_USABLE}")
    if not choice.labels:
        raise DataError(
            f"no label can be probed ({reasons}); {_USABLE}; --labels COLUMN takes a column that only looks "
            "like something else"
        )
    return choice


def _about_labels(choice: LabelChoice) -> list[str]:
    """Lines for the user: columns that are left out, and classes that may have been meant as one."""
    lines = []
    if choice.left_out:
        lines.append("columns that are left out, as no labels (--labels names the columns to probe):")
        lines += [f"  {plain(name)}: {why}" for name, why in choice.left_out.items()]
    for name, values in choice.labels.items():
        for names in look_alikes(values):
            lines.append(
                f"note: label {plain(name)}: {' and '.join(map(repr, names))} are written alike, "
                f"but count as {len(names)} classes"
            )
    return lines
