"""What is asked of the encoders, and the answer of one of them: its Grad-CAM on given clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bodvcl.evaluate.classifiers import LinearProbe
from bodvcl.evaluate.clips import frozen, to_encoder
from bodvcl.figures.cam_scores import PER_FRAME, Score, class_score, dynamic_score, match_score, static_score
from bodvcl.figures.gradcam import Attention, attention
from bodvcl.figures.opened import OpenedRun
from bodvcl.figures.options import CamOf

FEWEST_CELLS = 7
"""Rows and columns of the deepest feature map that is looked at, unless the user chooses: fewer cells hardly
say where. Slow-R50 has 7 x 7 in its last map for clips of 224 pixels."""
_AT_ONCE = 32


@dataclass(frozen=True)
class ClassProbe:
    """A linear probe of one run whose class scores are explained.

    Attributes:
        probe: weights and biases, on the mean over time of the backbone's features.
        names: names of the classes.
        chosen: number of the class that is explained; None: of each clip the one with the highest score.
    """

    probe: LinearProbe
    names: tuple[str, ...]
    chosen: int | None


@dataclass(frozen=True)
class Answer:
    """What a run looks at.

    Attributes:
        attention: maps and scores of the clips.
        asked: what was explained, in words, one per clip.
    """

    attention: Attention
    asked: list[str]


def answer(
    run: OpenedRun, of: CamOf, depth: int, clips: Tensor, others: Tensor, classes: ClassProbe | None = None
) -> Answer:
    """Grad-CAM of each clip.

    Args:
        run: the run; its encoder is on the device of the clips.
        of: what is explained.
        depth: feature map that is looked at, 1 to 4.
        clips: normalised, ``(N, 3, L, S, S)``.
        others: another clip of each video, of the same shape.
        classes: the probe, for ``of="class"``.
    """
    found: list[Attention] = []
    asked: list[str] = []
    for some, other in zip(clips.split(_AT_ONCE), others.split(_AT_ONCE)):
        score, names = _score(run, of, some, other, classes)
        found.append(attention(run.encoder, some, score, depth=depth, per_frame=of in PER_FRAME))
        asked += names
    maps, scores = (torch.cat(parts) for parts in zip(*found))
    return Answer(Attention(maps, scores), asked)


def useful_depth(run: OpenedRun, clip: Tensor) -> tuple[int, tuple[int, int]]:
    """The deepest feature map with at least :data:`FEWEST_CELLS` rows and columns, else the first.

    Its size comes with it.

    Args:
        run: the run.
        clip: a normalised clip ``(1, 3, L, S, S)``.
    """
    sizes = map_sizes(run, clip)
    fit = [depth for depth, size in enumerate(sizes, 1) if min(size) >= FEWEST_CELLS]
    depth = max(fit, default=1)
    return depth, sizes[depth - 1]


def map_sizes(run: OpenedRun, clip: Tensor) -> list[tuple[int, int]]:
    """Rows and columns of the four feature maps of a clip ``(1, 3, L, S, S)``."""
    with frozen(run.encoder):
        maps = run.encoder.backbone.maps(to_encoder(clip, run.encoder, clip.device))
    return [(m.shape[-2], m.shape[-1]) for m in maps]


def _score(
    run: OpenedRun, of: CamOf, clips: Tensor, others: Tensor, classes: ClassProbe | None
) -> tuple[Score, list[str]]:
    koopman = run.config.koopman
    if of == "class":
        assert classes is not None
        features = _frames(run, clips).mean(1).double().cpu().numpy()
        best = classes.probe.scores(features).argmax(1)
        chosen = best if classes.chosen is None else np.full(len(clips), classes.chosen)
        weights, biases = (torch.from_numpy(x[chosen]) for x in (classes.probe.weights, classes.probe.biases))
        how = "predicted" if classes.chosen is None else "chosen"
        return class_score(weights, biases), [f"class {classes.names[c]} ({how})" for c in chosen]
    if of == "dynamic":
        return dynamic_score(run.encoder, koopman), ["size of the dynamic stream"] * len(clips)
    other = _frames(run, others)
    if of == "static":
        return static_score(run.encoder, koopman, other), ["similarity of the static stream"] * len(clips)
    return match_score(run.encoder, other), ["similarity with another clip"] * len(clips)


def _frames(run: OpenedRun, clips: Tensor) -> Tensor:
    with frozen(run.encoder):
        return run.encoder.frames(to_encoder(clips, run.encoder, clips.device))
