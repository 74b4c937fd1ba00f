"""How long clips are, from the lengths and frame rates of the videos."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodvcl.config.backbones import GEOMETRY, MIN_FEATURES
from bodvcl.config.fit.choice import Chosen, Footage, Machine
from bodvcl.config.schema import TrainConfig
from bodvcl.text.words import counted

SECONDS = 2.0
"""Aim for the length of a clip."""
LEAST_SECONDS = 1.0
"""A clip is at most half as long as the median video, but not shorter than this for that reason."""
SHORT = 0.1
"""Share of the videos that may be too short for a clip."""
FRAMES = (16, 12, 8, 6, 4, 3)
"""Numbers of frames of a clip, the wanted one first."""
USUAL_FPS = 25.0
"""Where no video says its frame rate."""
UNLIKE = 1.5
"""Videos are resampled where the fast ones (95%) have this many times the rate of the slow ones (5%)."""


def choose_clips(chosen: Chosen, footage: Footage, machine: Machine) -> int:
    """Choose frames, stride and rate so that few videos are left out. Returns how many hold a clip, or all
    where none does."""
    known = footage.fps[footage.fps > 0]
    usual = float(np.median(known)) if len(known) else USUAL_FPS
    frames = footage.frames.astype(np.float64)
    seconds = frames / np.where(footage.fps > 0, footage.fps, usual)
    if chosen.opens("clip.fps"):
        _resample(chosen, known, len(footage), usual)
    rate = chosen.config.clip.fps
    if rate is not None:
        frames, usual = seconds * rate, rate
    median = float(np.median(seconds))
    longest = float(np.quantile(frames, SHORT, method="lower"))
    aim = min(SECONDS, max(LEAST_SECONDS, median / 2))
    fits = f"all but {SHORT:.0%} of the videos have {longest:.0f} frames or more"
    if chosen.opens("clip.frames"):
        count, why = _frame_count(chosen.config, machine, longest)
        chosen.take("clip.frames", count, why or fits)
    count = chosen.config.clip.frames
    wanted, most = max(1, int(aim * usual / count + 0.5)), max(1, int((longest - 1) // (count - 1)))
    stride = min(wanted, most)
    covers = ((count - 1) * stride + 1) / usual
    at = f"at {usual:.4g} fps" if len(known) or rate else f"and no known frame rate (taken as {usual:g} fps)"
    chosen.take(
        "clip.stride",
        stride,
        f"the median video has {median:.3g} s {at}, a clip then covers {covers:.2g} s"
        + (f"; {fits}" if most < wanted else ""),
    )
    clip = chosen.config.clip
    held = int((frames >= (clip.frames - 1) * clip.stride + 1).sum())
    return len(footage) if clip.short == "repeat" else held or len(footage)


def _resample(chosen: Chosen, known: NDArray[Any], videos: int, usual: float) -> None:
    if not len(known):
        chosen.take("clip.fps", None, "no video says its frame rate")
        return
    slow, fast = (float(x) for x in np.quantile(known, (0.05, 0.95), method="nearest"))
    if fast < UNLIKE * slow:
        between = f"{slow:.4g}" if slow == fast else f"{slow:.4g} to {fast:.4g}"
        chosen.take("clip.fps", None, f"most videos have {between} frames per second")
    elif len(known) < videos:
        unknown = counted(videos - len(known), "video")
        chosen.take("clip.fps", None, f"the frame rate of {unknown} is not known")
    else:
        reason = f"frame rates differ ({slow:.4g} to {fast:.4g}), and a motion should look the same in all"
        chosen.take("clip.fps", min(1000.0, round(usual, 3)), reason)


def _frame_count(config: TrainConfig, machine: Machine, longest: float) -> tuple[int, str]:
    """Frames of a clip, and the reason; no reason: the videos are short."""
    name = config.model.backbone
    wanted = 16 if machine.gpu and name != "tiny" else 8
    possible = [n for n in FRAMES if n <= wanted and _divides(n, name)]
    stride = 1 if "clip.stride" in config.fit else config.clip.stride
    fitting = [n for n in possible if (n - 1) * stride + 1 <= longest]
    if fitting and fitting[0] == wanted:
        return wanted, "as the recipes k400_*_16x4_*" if wanted == 16 else "as for the built-in data"
    return (fitting or possible[-1:])[0], ""


def _divides(frames: int, backbone: str) -> bool:
    step = GEOMETRY[backbone].frames_per_feature
    return frames % step == 0 and frames // step >= MIN_FEATURES
