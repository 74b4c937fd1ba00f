"""The probe of a checkpoint: options to scores."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import bodvcl
from bodvcl.config.parse import validate
from bodvcl.config.schema import ClipConfig, TrainConfig
from bodvcl.data.files.video import VideoInfo
from bodvcl.engine.checkpoint import load_run
from bodvcl.engine.device import pick_device
from bodvcl.engine.learner import untrained_encoder
from bodvcl.errors import ConfigError, DataError
from bodvcl.evaluate.columns import LabelChoice
from bodvcl.evaluate.controls import Control, DynamicControl, StaticControl
from bodvcl.evaluate.features import VideoFeatures
from bodvcl.evaluate.flow import Flow, choose_flow
from bodvcl.evaluate.label_scores import score_labels
from bodvcl.evaluate.labels_to_probe import label_notes, wanted_labels
from bodvcl.evaluate.names import FEATURE_KINDS
from bodvcl.evaluate.options import UNTRAINED, ClipOptions, ProbeOptions, refuse_contradictions
from bodvcl.evaluate.probe_report import ProbeReport
from bodvcl.evaluate.probed_encoder import ProbedEncoder
from bodvcl.evaluate.score import Score
from bodvcl.evaluate.several import choose_separator
from bodvcl.evaluate.splits import label_columns, refuse_shared
from bodvcl.evaluate.video_features import video_features
from bodvcl.evaluate.videos_to_probe import drop_overlap, find_videos, long_enough, refuse_listed_overlap
from bodvcl.models.encoder import VideoEncoder
from bodvcl.system.global_state import restored

WITHOUT_STREAMS = ("backbone", "backbone+std")
"""Kinds of features that are probed without ``--streams``."""


OpenRun = Callable[[Path], tuple[VideoEncoder, TrainConfig]]
"""Reads a checkpoint: the encoder, and the configuration of its run."""


@restored()
def run_probe(
    options: ProbeOptions, say: Callable[[str], None] = print, open_run: OpenRun = load_run
) -> ProbeReport:
    """Probe an encoder on labelled videos. Global state of PyTorch is put back at the end.

    Args:
        options: what to probe and how.
        say: takes lines for the user.
        open_run: reads the checkpoints.

    Returns:
        The scores, and the facts that they depend on.

    Raises:
        UserError: a checkpoint, data, labels or options that cannot be used; see the class's subclasses.
    """
    refuse_contradictions(options)
    device = pick_device(options.device)
    refuse_listed_overlap(options)
    encoder, config = _open(open_run, options.checkpoint, options.clip)
    encoders = [_probed(str(options.checkpoint), encoder, config)]
    if options.against is not None:
        encoders.append(_probed(options.against, *_other(open_run, options.against, options.clip, config)))
    flow = choose_flow(options.flow, device) if options.control == "dynamic" else None
    videos = find_videos(options, options.checkpoint, config, say)
    for other in encoders[1:]:
        videos = long_enough(videos, other.clip, say)
    if options.drop_overlap:
        videos = drop_overlap(videos, options.seed, say)
    separator = _separator(videos, options, say)
    choice = wanted_labels(videos, options.labels, options.seed, separator)
    division = choice.division
    refuse_shared(videos, division)
    for line in (*label_notes(choice, separator), division.text):
        say(line)
    if separator is not None and division.train is None:
        say("with --multi-label the halves are drawn from all videos with a label, not class by class")
    control = _control(options, config.clip, flow)
    if control is not None:
        say(control.name)
    chosen = [videos[row] for row in division.rows]

    def features(probed: ProbedEncoder) -> VideoFeatures:
        found = video_features(
            probed,
            chosen,
            device,
            clips_per_video=options.clips_per_video,
            control=_control(options, probed.clip, flow),
            cache=options.feature_folder,
            workers=options.workers,
            say=say,
        )
        return VideoFeatures(division.rows[found.rows], found.kinds)

    found = [features(probed) for probed in encoders]
    rows = functools.reduce(np.intersect1d, [features.rows for features in found])
    if len(rows) < len(chosen):
        say(f"{len(chosen) - len(rows)} of {len(chosen)} videos could not be read and are left out")
    tables = [
        score_labels(
            features.only(rows),
            choice,
            FEATURE_KINDS if options.streams else WITHOUT_STREAMS,
            options.probe,
            seed=options.seed,
            k=options.k,
            temperature=options.temperature,
            separator=separator,
        )
        for features in found
    ]
    _refuse_nothing(tables[0], choice)
    voters = [score.train for score in tables[0] if score.probe == "knn" and not score.skipped]
    if voters and min(voters) < options.k:
        say(f"knn: k is {options.k}, but there are only {min(voters)} training videos: all of them vote")
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
        "separator": separator,
        "seed": options.seed,
    }
    return ProbeReport(facts, *tables)


def _separator(videos: Sequence[VideoInfo], options: ProbeOptions, say: Callable[[str], None]) -> str | None:
    """Text between the classes of a cell; None without ``--multi-label``."""
    if not options.multi_label:
        return None
    columns = label_columns(videos)
    named = [(name, columns[name]) for name in options.labels if name in columns]
    found = [choose_separator(name, values, options.separator) for name, values in named]
    separators = dict.fromkeys(separator for separator, line in found)
    if len(separators) > 1:
        raise ConfigError(
            f"--multi-label: the columns of --labels have different separators "
            f"({' and '.join(map(repr, separators))}); probe them one after the other"
        )
    for _, line in found:
        say(line)
    return next(iter(separators), None)


def _open(open_run: OpenRun, path: Path, clip: ClipOptions) -> tuple[VideoEncoder, TrainConfig]:
    encoder, config = open_run(path)
    changed = dataclasses.replace(config, clip=clip.override(config.clip))
    return encoder, validate(dataclasses.asdict(changed))


def _other(
    open_run: OpenRun, against: str, clip: ClipOptions, config: TrainConfig
) -> tuple[VideoEncoder, TrainConfig]:
    if against == UNTRAINED:
        return untrained_encoder(config.model, config.seed), config
    return _open(open_run, Path(against), clip)


def _probed(name: str, encoder: VideoEncoder, config: TrainConfig) -> ProbedEncoder:
    return ProbedEncoder(name, encoder, config.model, config.clip, config.augment, config.koopman)


def _control(options: ProbeOptions, clip: ClipConfig, flow: Flow | None) -> Control | None:
    if flow is not None:
        return DynamicControl(options.seed, flow, clip.stride)
    return StaticControl(options.seed) if options.control == "static" else None


def _refuse_nothing(scores: list[Score], choice: LabelChoice) -> None:
    """Refuse scores that were all skipped; the reasons are those of the columns that were chosen."""
    if all(score.skipped for score in scores):
        reasons = dict.fromkeys(
            f"{score.semantic}: {score.skipped}" for score in scores if score.semantic in choice.labels
        )
        raise DataError(f"no label can be probed ({'; '.join(reasons)})")
