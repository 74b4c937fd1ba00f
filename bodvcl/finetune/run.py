"""A fine-tuning from its options to its result: train, test, and what is left in the run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import yaml

from bodvcl.config.recipes import as_yaml
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.files.video_list import list_videos
from bodvcl.data.sets import built_in
from bodvcl.data.sources.source import open_source
from bodvcl.engine.checkpoint.same_run import differences
from bodvcl.engine.ranks import Ranks
from bodvcl.errors import ConfigError, DataError
from bodvcl.evaluate.clips import frozen
from bodvcl.finetune.classification import ClassificationTask
from bodvcl.finetune.labels import Labels
from bodvcl.finetune.loop import TuningLoop, TuningOutcome
from bodvcl.finetune.network import VideoClassifier, trained_parts
from bodvcl.finetune.options import SCRATCH, FinetuneOptions
from bodvcl.finetune.protocol import announcement, protocol, tested_views
from bodvcl.finetune.report import score_table, write_predictions
from bodvcl.finetune.saved import ClassifierFacts, save_classifier
from bodvcl.finetune.scores import score
from bodvcl.finetune.start import Start, open_start
from bodvcl.finetune.videos import TuningVideos, find_tuning_videos
from bodvcl.finetune.views import Viewer, squares
from bodvcl.runs.folder import write_atomically
from bodvcl.runs.results import Result
from bodvcl.text.tables import Listing
from bodvcl.text.words import counted

_NEVER_MATTER = (
    *("run_dir", "resume", "resume_with_other_videos", "dry_run", "list_recipes", "recipe"),
    *("workers", "decode", "decoder", "device", "log", "shapes.cache", "digits.cache", "scenes.cache"),
)
_MUST_MATCH = (
    *("checkpoint", "backbone", "width", "data", "label", "multi_label", "separator"),
    *("tune", "pooling", "head_norm"),
    *("frozen_norm", "clips_per_video", "hold_out", "train_videos", "batch_size", "seed", "clip"),
    *("shapes", "digits", "scenes"),
)


@dataclass(frozen=True)
class Tuned:
    """How a fine-tuning ended.

    Attributes:
        outcome: of the training.
        result: scores and what they depend on. None: a signal asked to stop.
        table: the scores, to be printed.
    """

    outcome: TuningOutcome
    result: Result | None = None
    table: Listing | None = None


def prepare(options: FinetuneOptions) -> tuple[Start, VideoClassifier]:
    """What the training starts from, and a classifier of two classes around it: the checks that cost little.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: options that do not fit it.
    """
    start = open_start(options)
    return start, _classifier(options, start, classes=2)


def _classifier(options: FinetuneOptions, start: Start, classes: int) -> VideoClassifier:
    """A classifier around the backbone; its linear layer is drawn with the seed."""
    trained = trained_parts(options.tune, start.backbone)
    torch.manual_seed(options.seed)
    return VideoClassifier(
        start.backbone,
        classes,
        options.dropout,
        trained,
        options.frozen_norm,
        options.pooling,
        options.head_norm,
    )


def tune(
    options: FinetuneOptions,
    ranks: Ranks,
    run_dir: Path,
    *,
    workers: int | None,
    say: Callable[[str], None] = print,
) -> Tuned:
    """Train and test a classifier on one data set.

    Args:
        options: what to train and how.
        ranks: the processes that train together.
        run_dir: folder of the run, open.
        workers: decoding processes of this process.
        say: takes lines for the user.

    Raises:
        UserError: a checkpoint, data or options that cannot be used; see the class's subclasses.
    """
    start, sketch = prepare(options)
    for line in announcement(options, start, sketch):
        say(line)
    videos = ranks.tell(lambda: find_tuning_videos(options, start.clip, say))
    labels = videos.labels
    say(_classes(labels))
    if options.keep == "best" and not videos.val:
        raise ConfigError("--keep best: there is nothing to validate on; use --hold-out, or --keep last")
    network = _classifier(options, start, len(labels.classes))
    plan = clip_plan(options, start, videos.train, ranks)
    say(f"{plan.steps_per_epoch * options.epochs:,} steps, {plan.steps_per_epoch:,} in an epoch")
    source = open_source(
        plan,
        options.decode,
        device=ranks.device,
        decoder=options.decoder,
        workers=workers,
        local_size=ranks.world.local_size,
    )
    viewer = Viewer(
        start.clip,
        start.mean,
        start.std,
        labels.multi,
        ranks,
        max(1, options.batch_size // ranks.size),
        workers,
        options.fast,
    )
    task = ClassificationTask(network, plan, source, labels, videos.val, viewer, options)
    listed = None if built_in(str(options.data)) else ranks.tell(lambda: list_videos(videos.train))
    settings = as_yaml(asdict(options) | {"classes": list(labels.classes)})
    loop = TuningLoop(task, options, run_dir, ranks, settings, same_tuning, listed)
    if options.resume:
        changed = loop.resume()
        say(
            f"resuming {run_dir} at step {loop.step}"
            if loop.step
            else f"{run_dir}: no checkpoint yet: starting"
        )
        for line in changed:
            say(f"  changed since the checkpoint: {line}")
    if ranks.first:
        write_atomically(run_dir / "config.yaml", as_yaml(asdict(options)).encode())
    outcome = loop.run()
    if source.failed:
        say(f"{counted(len(source.failed), 'training video')} could not be read")
    if outcome.signal is not None:
        return Tuned(outcome)
    facts = ClassifierFacts(
        start.model,
        labels.classes,
        options.pooling,
        options.head_norm,
        labels.column,
        labels.multi,
        start.clip,
        start.mean,
        start.std,
        start.method,
    )
    if ranks.first:
        save_classifier(run_dir, network, facts)
    with frozen(network), loop.autocast():
        return _test(options, start, network, videos, viewer, run_dir, outcome, say)


def clip_plan(options: FinetuneOptions, start: Start, train: Sequence[VideoInfo], ranks: Ranks) -> ClipPlan:
    """What each step sees: every video once an epoch, or as often as it gives clips.

    Raises:
        DataError: fewer clips than a batch has.
        ConfigError: the processes cannot share a batch equally.
    """
    often = train if options.clips_per_video == 1 else [*train] * options.clips_per_video
    return ClipPlan(
        often,
        replace(start.clip, views=1, twin=False),
        replace(options.augment, mean=start.mean, std=start.std),
        options.batch_size,
        options.seed,
        ranks.rank,
        ranks.size,
    )


def same_tuning(saved: str, now: str, may_change: Collection[str]) -> tuple[list[str], list[str]]:
    """As :func:`~bodvcl.engine.checkpoint.same_run.compare_settings`, for a fine-tuning. Its classes must be
    the same, too."""
    before, after = yaml.safe_load(saved), yaml.safe_load(now)
    old, new = before.pop("classes"), after.pop("classes")
    different, changed = differences([before], after, {*_MUST_MATCH} - {*may_change}, _NEVER_MATTER)
    if old != new:
        apart = sorted({*old} ^ {*new})
        named = f", among them {', '.join(apart[:3])}" if apart else " in another order"
        different.append(f"the classes were {len(old)}, now {len(new)}{named}")
    return different, changed


def refuse_changed(options: FinetuneOptions, run_dir: Path) -> None:
    """Refuse to count a finished run among others with other options.

    Raises:
        ConfigError: names the options that differ.
        DataError: the options of the run cannot be read.
    """
    try:
        before = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
        now = yaml.safe_load(as_yaml(asdict(options)))
        different, changed = differences([before], now, _MUST_MATCH, _NEVER_MATTER)
    except (OSError, yaml.YAMLError, TypeError, AttributeError) as error:
        raise DataError(f"{run_dir / 'config.yaml'} cannot be read ({error}): remove {run_dir}") from error
    if lines := [*different, *changed]:
        raise ConfigError(
            f"{run_dir} has finished with other options ({'; '.join(lines)}): drop these, or start again "
            "with another --run-dir"
        )


def _test(
    options: FinetuneOptions,
    start: Start,
    network: VideoClassifier,
    videos: TuningVideos[VideoInfo],
    viewer: Viewer,
    run_dir: Path,
    outcome: TuningOutcome,
    say: Callable[[str], None],
) -> Tuned:
    began, labels, views = time.perf_counter(), videos.labels, tested_views(options, start.clip)
    if views.crops > 1 and (alike := squares(videos.test)):
        say(
            f"{counted(alike, 'test video')} of {len(videos.test):,} are square: their crops are all the same"
        )
    found = viewer.predict(network, videos.test, views, "test")
    missing = len(videos.test) - len(found.rows)
    if missing:
        say(f"{missing:,} of {len(videos.test):,} test videos could not be read and are left out")
    if not len(found.rows):
        raise DataError(f"none of {len(videos.test):,} test videos could be read")
    scores = score(found.probabilities, labels.targets([videos.test[row] for row in found.rows]))
    result = Result(
        kind="linear" if options.tune == "head" else "finetune",
        data=str(options.data),
        checkpoint=None if options.checkpoint == SCRATCH else options.checkpoint,
        protocol=protocol(options, start.clip, labels),
        metrics=scores.metrics,
        train=len(videos.train),
        test=len(found.rows),
        seed=options.seed,
        seconds=round(outcome.seconds + time.perf_counter() - began, 1),
        method=start.method,
        backbone=start.model.backbone,
    )
    if viewer.ranks.first:
        write_predictions(run_dir, videos.test, labels, found, scores)
        result.save(run_dir)
    return Tuned(outcome, result, score_table(result, scores))


def _classes(labels: Labels) -> str:
    kind = "several a video" if labels.multi else "one a video"
    return f"label {labels.column}: {len(labels.classes):,} classes, {kind}"
