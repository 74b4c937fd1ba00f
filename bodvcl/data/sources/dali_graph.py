"""The DALI graph from encoded files to clips, and what its colours need afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, types

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.draws import ClipDraws
from bodvcl.data.files.video import VideoInfo

_BT_709 = 1  # number of ITU-T H.273


def _rgb_of(red: float, blue: float) -> np.ndarray:
    """(3, 3): matrix from luma and colour differences to R'G'B', for the luma weights of red and blue."""
    green = 1 - red - blue
    return np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )


_TO_BT_709 = _rgb_of(0.2126, 0.0722) @ np.linalg.inv(_rgb_of(0.299, 0.114))
_PREFETCH = 2  # batches that DALI prepares ahead

Inputs = tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]
"""Encoded files, frame numbers and boxes of a batch, with an entry per video."""


def clip_graph(
    source: Callable[[], Inputs], clip: ClipConfig, *, batch: int, device: torch.device, threads: int
) -> Pipeline:
    """The graph: encoded files, frame numbers and boxes in; clips out, uint8 (views, L, S, S, 3) per video.

    Args:
        source: called for each batch; returns lists of uint8 (bytes,), int32 (views * L,) and float32
            (views, 4) top, left, bottom, right in pixels, with one entry per video.
        clip: views, length and size.
        batch: most videos per batch.
        device: device that decodes and resizes.
        threads: number of DALI threads.
    """
    gpu = device.type == "cuda"
    index = None if not gpu else torch.cuda.current_device() if device.index is None else device.index
    graph = Pipeline(batch, threads, index, prefetch_queue_depth=_PREFETCH)
    with graph:
        encoded, frames, boxes = fn.external_source(
            source, num_outputs=3, dtype=[types.UINT8, types.INT32, types.FLOAT], ndim=[1, 1, 2]
        )
        # pad_mode none: a frame that is not there is an error, not a repeated or black frame
        decoded = fn.decoders.video(encoded, device="mixed" if gpu else "cpu", frames=frames, pad_mode="none")
        views = [
            fn.resize(
                decoded[view * clip.frames : (view + 1) * clip.frames],
                size=[clip.size, clip.size],
                roi_start=boxes[view, 0:2],
                roi_end=boxes[view, 2:4],
                interp_type=types.INTERP_LINEAR,
                antialias=True,
            )
            for view in range(clip.views)
        ]
        graph.set_outputs(fn.stack(*views))
    return graph


def corrected(draws: ClipDraws, video: VideoInfo) -> ClipDraws:
    """Draws with a colour matrix that corrects a BT.709 file converted as BT.601; others are unchanged."""
    if video.colour_space != _BT_709:
        return draws
    linear, offset = draws.colour[:, :, :3], draws.colour[:, :, 3:]
    colour = np.concatenate([linear @ _TO_BT_709, offset], axis=2).astype(np.float32)
    return replace(draws, colour=colour)
