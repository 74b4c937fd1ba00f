"""Train a detector of actions and test it: from options to a run folder with its results."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path

import yaml

from bodvcl.detect.annotations import Annotations, ava_root, read_annotations
from bodvcl.detect.examples import readable
from bodvcl.detect.films import Film, open_films
from bodvcl.detect.network import Start, action_detector, checkpoint_name, starting_point
from bodvcl.detect.options import DetectOptions
from bodvcl.detect.outputs import write_outputs
from bodvcl.detect.reading import KeyFrameClips
from bodvcl.detect.scores import Tested
from bodvcl.detect.task import DetectionTask
from bodvcl.engine.checkpoint.same_run import differences
from bodvcl.engine.ranks import Ranks
from bodvcl.evaluate.clips import frozen
from bodvcl.finetune.loop import TuningLoop
from bodvcl.runs.folder import open_run_dir, write_atomically
from bodvcl.runs.results import Fact, Result
from bodvcl.text.tables import show
from bodvcl.text.words import counted

MUST_MATCH = (
    *("checkpoint", "data", "train_boxes", "threshold", "backbone", "width", "dilate", "dropout", "clip"),
    *("extracted", "begins", "batch_size", "seed"),
)
"""Options that make a run another run."""
NEVER_MATTER = ("run_dir", "resume", "boxes", "max_bad", "workers", "pictures", "dry_run", "device", "log")
"""Options whose change is not even reported."""


def detect(options: DetectOptions, ranks: Ranks, held: contextlib.ExitStack) -> int:
    """Train and test.

    Args:
        options: checked options with a checkpoint.
        ranks: the processes, which have met.
        held: keeps the lock of the run folder.

    Returns:
        0 when training and test are complete, 128 + the number of the signal that stopped the training.

    Raises:
        UserError: anything that the user can fix; see the subclasses.
    """
    start = starting_point(options)
    annotations = ranks.tell(lambda: read_annotations(options))
    run_dir = ranks.tell(lambda: held.enter_context(open_run_dir(options.run_dir, "detect", options.resume)))
    films = ranks.tell(lambda: _films(options))
    train = KeyFrameClips(readable(annotations.train, films, "training", print), films, start.clip)
    test = KeyFrameClips(readable(annotations.test, films, "test", print), films, start.clip)
    for line in described(options, start, annotations):
        print(line)
    task = DetectionTask(
        action_detector(start, options, annotations.outputs),
        train,
        test,
        annotations.truth,
        annotations.actions,
        ranks,
        batch_size=options.batch_size,
        seed=options.seed,
        normalisation=start.normalisation,
        max_bad=options.max_bad,
        workers=options.workers,
    )
    settings = yaml.safe_dump(plain(options), sort_keys=False)
    loop = TuningLoop(task, options, run_dir, ranks, settings, same_run, what="detection")
    if options.resume:
        for line in loop.resume():
            print(f"changed since the checkpoint: {line}")
    if ranks.first:
        write_atomically(run_dir / "config.yaml", settings.encode())
    outcome = loop.run()
    if outcome.signal is not None:
        return 128 + outcome.signal
    began = time.perf_counter()
    print(f"testing {counted(len(test.examples), 'key frame')}")
    with frozen(task.model), loop.autocast():
        tested = task.test()
    if tested is not None:
        seconds = outcome.seconds + time.perf_counter() - began
        _finish(options, start, annotations, train, test, tested, run_dir, seconds)
    return 0


def _finish(
    options: DetectOptions,
    start: Start,
    annotations: Annotations,
    train: KeyFrameClips,
    test: KeyFrameClips,
    tested: Tested,
    run_dir: Path,
    seconds: float,
) -> None:
    """Write and show the results."""
    written = write_outputs(run_dir, tested, annotations, test, options.pictures)
    result = Result(
        "detect",
        options.data,
        checkpoint_name(options),
        protocol(options, start, annotations, test, tested),
        tested.evaluation.metrics(),
        train=len(train.examples),
        test=len(test.examples),
        seed=options.seed,
        seconds=seconds,
        method=start.method,
        backbone=start.backbone.name,
    )
    written = [result.save(run_dir).name, *written]
    show(*tested.evaluation.tables())
    print(f"{', '.join(written)} are in {run_dir}")


def protocol(
    options: DetectOptions, start: Start, annotations: Annotations, test: KeyFrameClips, tested: Tested
) -> dict[str, Fact]:
    """What results of one table must share."""
    clip = start.clip
    everybody, seen = len(annotations.test), len(set(tested.people.who[:, 0].tolist()))
    return {
        "frames": clip.frames,
        "stride": clip.stride,
        "fps": clip.fps,
        "train_size": clip.size,
        "test_side": clip.test_side,
        "dilated": options.dilate,
        "boxes": "ground-truth" if annotations.boxes == "ground-truth" else "detections",
        "threshold": options.threshold,
        "train_boxes": options.train_boxes is not None,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "lr": options.optim.lr,
        "schedule": options.optim.schedule,
        "weights": options.keep,
        "missing_key_frames": everybody - len(test.examples),
        "unreadable_key_frames": len(test.examples) - seen,
    }


def described(options: DetectOptions, start: Start, annotations: Annotations) -> list[str]:
    """Lines that say what is trained and tested."""
    clip, source = start.clip, options.checkpoint
    people = [sum(len(e.boxes) for e in examples) for examples in (annotations.train, annotations.test)]
    fps = "of the film" if clip.fps is None else f"at {clip.fps:g} frames per second"
    return [
        f"detection with {start.backbone.name} from {source}"
        + (", last stage with stride 1 and dilation 2" if options.dilate else ""),
        f"clips of {counted(clip.frames, 'frame')}, stride {clip.stride} {fps}, around each key frame",
        f"train: {counted(len(annotations.train), 'key frame')} with {people[0]:,} boxes",
        f"test: {counted(len(annotations.test), 'key frame')} with {people[1]:,} boxes "
        f"({annotations.boxes}), {len(annotations.actions.evaluated)} of {annotations.outputs} actions count",
    ]


def _films(options: DetectOptions) -> dict[str, Film]:
    return open_films(
        options.data,
        ava_root(options.data),
        extracted=options.extracted,
        begins=options.begins,
        workers=options.workers,
    )


def plain(options: DetectOptions) -> dict[str, object]:
    """The options as values of YAML."""

    def value(of: object) -> object:
        if isinstance(of, dict):
            return {key: value(inner) for key, inner in of.items()}
        return list(of) if isinstance(of, tuple) else str(of) if isinstance(of, Path) else of

    found = value(dataclasses.asdict(options))
    assert isinstance(found, dict)
    return found


def same_run(saved: str, now: str, may_change: object) -> tuple[list[str], list[str]]:
    """Compare the settings in a checkpoint with those of this run, for the training loop."""
    before = plain(DetectOptions()), yaml.safe_load(saved)
    return differences(before, yaml.safe_load(now), MUST_MATCH, NEVER_MATTER)
