"""What two results must share to stand in one table, and what a run says before it begins."""

from __future__ import annotations

from bodvcl.detect.annotations import Annotations
from bodvcl.detect.clips import ClipShape, KeyFrameClips
from bodvcl.detect.dilated import cell_size
from bodvcl.detect.options import GROUND_TRUTH, DetectOptions
from bodvcl.detect.scores import DetectionTest
from bodvcl.finetune.protocol import rate_and_schedule
from bodvcl.finetune.start import Start
from bodvcl.runs.results import Fact
from bodvcl.text.words import counted


def protocol(
    options: DetectOptions,
    shape: ClipShape,
    annotations: Annotations,
    test: KeyFrameClips,
    tested: DetectionTest,
) -> dict[str, Fact]:
    """Facts that results of one table must share."""
    seen = len(set(tested.people.who[:, 0].tolist()))
    own_boxes = annotations.boxes == GROUND_TRUTH
    return {
        "clip": _clip(shape),
        "train_crop": f"{shape.size} pixels of short sides {shape.short_side[0]} to {shape.short_side[1]}",
        "test": f"short side {shape.test_side}, one view",
        "boxes": GROUND_TRUTH if own_boxes else f"detections of {options.threshold:g} or more",
        "train_boxes": "ground truth" + ("" if options.train_boxes is None else " and detections"),
        "dilate": options.dilate,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        **rate_and_schedule(options.optim),
        "dropout": options.dropout,
        "keep": options.keep,
        "recipe": options.recipe,
        "key_frames_missing": len(annotations.test) - len(test.examples),
        "key_frames_unreadable": len(test.examples) - seen,
    }


def announcement(
    options: DetectOptions, start: Start, shape: ClipShape, annotations: Annotations
) -> list[str]:
    """Lines about the network, its clips, and what is trained and tested."""
    people = [sum(len(e.boxes) for e in examples) for examples in (annotations.train, annotations.test)]
    cell = cell_size(start.model.backbone, options.dilate)
    last = ", last stage with stride 1 and dilation 2" if options.dilate else ""
    return [
        start.text,
        f"one cell of the feature map is {cell} pixels wide{last}",
        f"clips of {_clip(shape)}; training crops of {shape.size} pixels, test short side {shape.test_side}",
        f"train: {counted(len(annotations.train), 'key frame')}, {people[0]:,} people",
        f"test: {counted(len(annotations.test), 'key frame')}, {people[1]:,} people ({annotations.boxes}); "
        f"{len(annotations.actions.evaluated)} of {annotations.outputs} actions count",
    ]


def _clip(shape: ClipShape) -> str:
    rate = "" if shape.fps is None else f", {shape.fps:g} fps"
    return f"{counted(shape.frames, 'frame')}, stride {shape.stride}{rate}"
