"""How each run is asked where it looks: the depth of the feature map, and the probe of its classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from bodvcl.data.clips.augment import finish
from bodvcl.data.files.video import VideoInfo
from bodvcl.evaluate.columns import LabelChoice
from bodvcl.figures.cam_class import class_probe
from bodvcl.figures.cam_clips import CamVideo, read_pair
from bodvcl.figures.cam_question import ClassProbe, map_sizes, useful_depth
from bodvcl.figures.opened import OpenedRun
from bodvcl.figures.options import FigureOptions


class Looking(NamedTuple):
    """How one run is asked."""

    run: OpenedRun
    depth: int
    cells: tuple[int, int]
    classes: ClassProbe | None


def looking(
    options: FigureOptions,
    runs: Sequence[OpenedRun],
    first: CamVideo,
    labelled: tuple[Sequence[VideoInfo], LabelChoice] | None,
    device: torch.device,
    say: Callable[[str], None],
) -> list[Looking]:
    """Depth of every run, and the probes that ``--cam-of class`` needs.

    Args:
        options: what is asked.
        runs: the runs; their encoders are moved to the device.
        first: a clip, for the sizes of the feature maps.
        labelled: labelled videos and their columns, for the classes.
        device: where the encoders run.
        say: takes lines for the user.
    """
    made = []
    for run in runs:
        run.encoder.to(device)
        clip = finish(read_pair(first, run.config.clip), run.config.augment, device)[:1]
        depth, cells = useful_depth(run, clip)
        if options.cam_depth is not None:
            depth, cells = options.cam_depth, map_sizes(run, clip)[options.cam_depth - 1]
        classes = None if labelled is None else class_probe(run, *labelled, options, device, say)
        made.append(Looking(run, depth, cells, classes))
    return made
