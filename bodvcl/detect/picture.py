"""Key frames with the boxes and actions of people: ground truth above, predictions below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bodvcl.text.words import printable
from bodvcl.viz.svg import DYNAMIC, STATIC, styled

ACTIONS = 3
"""Most actions that are written for a predicted person."""
_COLUMNS = 4
_WIDTH = 3.6  # inches of a key frame


class KeyFramePicture(NamedTuple):
    """What is drawn of one key frame.

    Attributes:
        name: its heading.
        image: uint8 (H, W, 3) RGB.
        truth: float (K, 4), x1, y1, x2, y2 as shares of the frame.
        actions: names of the actions of each of these people.
        found: float (M, 4), boxes that were given to the network.
        scores: (M, actions) scores in [0, 1].
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    actions: Sequence[Sequence[str]]
    found: np.ndarray
    scores: np.ndarray


@styled
def key_frame_sheet(pictures: Sequence[KeyFramePicture], names: Mapping[int, str]) -> Figure:
    """Draw key frames side by side.

    Args:
        pictures: at least one key frame.
        names: column of the scores to the name of its action; other columns are not shown.
    """
    columns = min(_COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    shape = max(picture.image.shape[0] / picture.image.shape[1] for picture in pictures)
    size = (_WIDTH * columns, (_WIDTH * shape + 0.4) * rows)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    cells = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes in cells:
        axes.axis("off")
    for axes, picture in zip(cells, pictures):
        axes.imshow(picture.image, interpolation="nearest")
        axes.set_title(printable(picture.name).replace("$", r"\$"), fontsize=8)
        for box, actions in zip(picture.truth, picture.actions):
            _draw(axes, picture.image, box, STATIC, ", ".join(actions), above=True)
        for box, scores in zip(picture.found, picture.scores):
            best = sorted(names, key=lambda column: -scores[column])[:ACTIONS]
            text = ", ".join(f"{names[column]} {scores[column]:.2f}" for column in best)
            _draw(axes, picture.image, box, DYNAMIC, text, above=False)
    figure.supxlabel("blue, above: ground truth. orange, below: predictions", fontsize=8)
    return figure


def _draw(axes: Axes, image: np.ndarray, box: np.ndarray, colour: str, text: str, above: bool) -> None:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box * (width, height, width, height) - 0.5
    line = 1.4 if above else 0.9
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=line))
    axes.text(
        x1, y1 if above else y2, printable(text).replace("$", r"\$"), fontsize=5, color="white",
        va="bottom" if above else "top", clip_on=True,
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.6},
    )  # fmt: skip
