"""Facts about the backbones: what each asks of a clip, which have published weights. Needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from bodvcl.text.words import counted

MIN_FEATURES = 3
"""Fewest features per clip that a Koopman operator can be fitted on: two pairs."""


@dataclass(frozen=True)
class Geometry:
    """What a backbone asks of a clip.

    Attributes:
        name: name of the backbone.
        min_size: smallest height and width in pixels.
        cell: height and width in pixels of what one cell of the last feature map stands for.
        dilates: whether the last stage can keep its resolution (:mod:`bodvcl.detect.dilated`).
        size_step: height and width must be a multiple of this number.
        frames_per_feature: frames per feature: 1, or the length of a tubelet.
        weights: name of the class of torchvision's published weights. None: torchvision has none.
    """

    name: str
    min_size: int
    cell: int
    dilates: bool = False
    size_step: int = 1
    frames_per_feature: int = 1
    weights: str | None = None

    def frames_out(self, frames: int) -> int:
        """T, the number of features of a clip of ``frames`` frames.

        Raises:
            ValueError: the clip is shorter than one feature, or its last tubelet would be incomplete.
        """
        step = self.frames_per_feature
        if frames < step or frames % step:
            near = max(step, frames - frames % step)
            raise ValueError(
                f"{self.name} makes one feature per {counted(step, 'frame')}: expected a multiple of {step}, "
                f"got {frames}; use {near} or {near + step}"
            )
        return frames // step

    def check_size(self, size: int) -> None:
        """Accept a height or width of ``size`` pixels.

        Raises:
            ValueError: ``size`` is below ``min_size``, or not a multiple of ``size_step``.
        """
        if size < self.min_size:
            raise ValueError(f"{self.name} needs clips of {self.min_size} pixels or more, got {size}")
        if size % self.size_step:
            near = size - size % self.size_step
            raise ValueError(
                f"{self.name} cuts clips into patches of {self.size_step} pixels: expected a multiple "
                f"of {self.size_step}, got {size}; use {near} or {near + self.size_step}"
            )


GEOMETRY = {
    g.name: g
    for g in (
        Geometry("tiny", min_size=16, cell=16, dilates=True),
        Geometry("slow_r50", min_size=32, cell=32, dilates=True),
        Geometry("r3d_18", min_size=32, cell=16, dilates=True, weights="R3D_18_Weights"),
        Geometry("r3d_18_thin", min_size=32, cell=16, dilates=True),
        Geometry("r2plus1d_18", min_size=32, cell=16, dilates=True, weights="R2Plus1D_18_Weights"),
        Geometry("r2plus1d_18_thin", min_size=32, cell=16, dilates=True),
        Geometry("s3d", min_size=32, cell=32, weights="S3D_Weights"),
        Geometry("s3d_g", min_size=32, cell=32),
        Geometry("vit_b16", min_size=16, cell=16, size_step=16, frames_per_feature=2),
    )
}
"""Every backbone by name."""

TORCHVISION = "torchvision"
"""Value of ``model.weights``: torchvision's weights of the backbone, where they are on this machine."""

CAN_SHARD = ("vit_b16",)
"""Backbones of blocks that follow each other, whose weights can be cut over processes block by block."""

CAN_LOAD = ("slow_r50", *(name for name, g in GEOMETRY.items() if g.weights))
"""Backbones that published weights can be loaded into."""
