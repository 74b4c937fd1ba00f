"""Train a detector of actions and test it: from options to a run folder with its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from bodvcl.config.recipes import as_yaml
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.files.video_list import list_videos
from bodvcl.detect.annotations import Annotations, ava_root, read_annotations
from bodvcl.detect.clips import ClipShape, KeyFrameClips
from bodvcl.detect.examples import readable
from bodvcl.detect.films import open_films
from bodvcl.detect.network import action_detector, open_start
from bodvcl.detect.options import DetectOptions
from bodvcl.detect.outputs import write_outputs
from bodvcl.detect.protocol import announcement, protocol
from bodvcl.detect.scores import Evaluation
from bodvcl.detect.task import DetectionTask
from bodvcl.engine.checkpoint.same_run import differences
from bodvcl.engine.ranks import Ranks
from bodvcl.evaluate.clips import frozen
from bodvcl.finetune.loop import TuningLoop, TuningOutcome
from bodvcl.finetune.options import SCRATCH
from bodvcl.finetune.start import Start
from bodvcl.runs.folder import write_atomically
from bodvcl.runs.results import Result
from bodvcl.text.words import counted

_MUST_MATCH = (
    *("checkpoint", "data", "train_boxes", "threshold", "backbone", "width", "dilate", "dropout", "clip"),
    *("extracted", "begins", "batch_size", "seed"),
)
_NEVER_MATTER = (
    *("run_dir", "resume", "resume_with_other_videos", "dry_run", "recipe", "evaluate", "boxes"),
    *("max_bad", "workers", "pictures", "device", "log"),
)


@dataclass(frozen=True)
class Prepared:
    """What a detection trains and tests, checked; nothing is written yet.

    Attributes:
        start: what training starts from.
        shape: what a clip is.
        annotations: what the lists say.
        task: the network with its training and test.
        train, test: key frames whose films exist.
        files: video files of the training films.
    """

    start: Start
    shape: ClipShape
    annotations: Annotations
    task: DetectionTask
    train: KeyFrameClips
    test: KeyFrameClips
    files: list[VideoInfo]


def prepare(
    options: DetectOptions,
    ranks: Ranks,
    *,
    workers: int | None,
    say: Callable[[str], None] = print,
) -> Prepared:
    """Read the checkpoint, the lists and the headers of the films.

    Args:
        options: checked options with a checkpoint.
        ranks: the processes that train together.
        workers: decoding processes of this process. None: chosen from the number of cores.
        say: takes lines for the user.

    Raises:
        UserError: a checkpoint, data or options that cannot be used; see the class's subclasses.
    """
    start, shape = open_start(options)
    annotations = ranks.tell(lambda: read_annotations(options))
    for line in announcement(options, start, shape, annotations):
        say(line)
    films = ranks.tell(
        lambda: open_films(
            options.data,
            ava_root(options.data),
            extracted=options.extracted,
            begins=options.begins,
            workers=workers,
        )
    )
    train = KeyFrameClips(readable(annotations.train, films, "training", say), films, shape)
    test = KeyFrameClips(readable(annotations.test, films, "test", say), films, shape)
    task = DetectionTask(
        action_detector(start, options, annotations.outputs),
        train,
        test,
        annotations.truth,
        annotations.actions,
        ranks,
        batch_size=options.batch_size,
        seed=options.seed,
        normalisation=(start.mean, start.std),
        max_bad=options.max_bad,
        workers=workers,
    )
    say(f"{task.steps_per_epoch * options.epochs:,} steps, {task.steps_per_epoch:,} in an epoch")
    sources = [films[name].source for name in dict.fromkeys(example.film for example in train.examples)]
    files = [source for source in sources if isinstance(source, VideoInfo)]
    return Prepared(start, shape, annotations, task, train, test, files)


def detect(
    options: DetectOptions,
    prepared: Prepared,
    ranks: Ranks,
    run_dir: Path,
    say: Callable[[str], None] = print,
) -> tuple[TuningOutcome, Evaluation | None]:
    """Train and test.

    Args:
        options: the options that were prepared.
        prepared: network and data.
        ranks: the processes that train together.
        run_dir: folder of the run, open.
        say: takes lines for the user.

    Returns:
        How the training ended, and the test; None on other ranks than the first, and after a training that a
        signal stopped.

    Raises:
        UserError: a run that cannot be continued, or films that cannot be read; see the class's subclasses.
    """
    task, files = prepared.task, prepared.files
    listed = ranks.tell(lambda: list_videos(files)) if files else None
    settings = as_yaml(asdict(options))
    loop = TuningLoop(task, options, run_dir, ranks, settings, same_detection, listed, what="detection")
    if options.resume:
        changed = loop.resume()
        done = f"resuming {run_dir} at step {loop.step}"
        say(done if loop.step else f"{run_dir}: no checkpoint yet: starting")
        for line in changed:
            say(f"  changed since the checkpoint: {line}")
    if ranks.first:
        write_atomically(run_dir / "config.yaml", settings.encode())
    outcome = loop.run()
    if outcome.signal is not None:
        return outcome, None
    began = time.perf_counter()
    say(f"testing {counted(len(prepared.test.examples), 'key frame')}")
    with frozen(task.model), loop.autocast():
        tested = task.test()
    if tested is None:
        return outcome, None
    write_outputs(run_dir, tested, prepared.annotations, prepared.test, options.pictures)
    Result(
        kind="detect",
        data=options.data,
        checkpoint=None if options.checkpoint == SCRATCH else options.checkpoint,
        protocol=protocol(options, prepared.shape, prepared.annotations, prepared.test, tested),
        metrics=tested.evaluation.metrics(),
        train=len(prepared.train.examples),
        test=len(prepared.test.examples),
        seed=options.seed,
        seconds=round(outcome.seconds + time.perf_counter() - began, 1),
        method=prepared.start.method,
        backbone=prepared.start.model.backbone,
    ).save(run_dir)
    return outcome, tested.evaluation


def same_detection(saved: str, now: str, may_change: Collection[str]) -> tuple[list[str], list[str]]:
    """Compare the settings in a checkpoint with those of this run, for the training loop."""
    before, after = yaml.safe_load(saved), yaml.safe_load(now)
    return differences([before], after, {*_MUST_MATCH} - {*may_change}, _NEVER_MATTER)
