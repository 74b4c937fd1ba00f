"""Which frames, crops and colours a training step sees."""

from __future__ import annotations

from bodvcl.data.clips.colour import colour_matrix
from bodvcl.data.clips.draws import draw_clips
from bodvcl.data.files.clip_fit import required_frames

__all__ = ["colour_matrix", "draw_clips", "required_frames"]
