"""Which of many videos hold a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodvcl.config.schema import ClipConfig
from bodvcl.data.files.clip_fit import why_unfit
from bodvcl.data.files.columns import kinds, numbers
from bodvcl.data.files.video import VideoInfo


def judged(videos: Sequence[VideoInfo], clip: ClipConfig) -> tuple[NDArray[np.bool_], list[tuple[str, str]]]:
    """Which videos hold a clip: bool (videos,); (name, reason) of the others.

    Videos of one length and frame rate are judged once. With ``clip.fps`` those of a variable rate are judged
    one by one.
    """
    names = ["frames"] if clip.fps is None else ["frames", "fps", "pts_step", "time_base"]
    codes, first = kinds(videos, names)
    if clip.fps is not None:
        codes, first = _apart(codes, numbers(videos, "variable_rate"))
    reasons = [why_unfit(videos[place], clip) for place in first.tolist()]
    unfit = np.array([reason is not None for reason in reasons], bool)[codes]
    named = ((videos[place].name, reasons[codes[place]] or "") for place in np.flatnonzero(unfit).tolist())
    return ~unfit, list(named)


def _apart(codes: NDArray[Any], alone: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The kinds, but each of some videos is a kind of its own: codes, and the first place of each kind."""
    codes = codes.copy()
    codes[alone] = codes.max(initial=0) + 1 + np.arange(alone.sum())
    _, first, ranked = np.unique(codes, return_index=True, return_inverse=True)
    return ranked.astype(np.int32), first.astype(np.int32)
