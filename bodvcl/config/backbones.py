"""What a backbone asks of a clip, and what the configuration of a model may not say. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bodvcl.config.schema import ModelConfig, TrainConfig

MIN_FEATURES = 3
"""Features that the Koopman operator of a clip is fitted on, at least: two pairs."""


@dataclass(frozen=True)
class Geometry:
    """What a backbone asks of a clip.

    Attributes:
        name: name of the backbone.
        min_size: smallest height and width in pixels.
        size_step: height and width must be a multiple of it.
        frames_per_feature: frames that one feature is computed from: 1, or the length of a tubelet.
        weights: class of torchvision's published weights, where there are any.
    """

    name: str
    min_size: int
    size_step: int = 1
    frames_per_feature: int = 1
    weights: str | None = None

    def frames_out(self, frames: int) -> int:
        """T, the features of a clip of ``frames`` frames.

        Raises:
            ValueError: none, or a tubelet would be left incomplete.
        """
        step = self.frames_per_feature
        if frames < step or frames % step:
            near = max(step, frames - frames % step)
            raise ValueError(
                f"{self.name} makes one feature of {step} frames: expected a multiple of {step}, "
                f"got {frames}; use {near} or {near + step}"
            )
        return frames // step

    def check_size(self, size: int) -> None:
        """Accept a height or width of ``size`` pixels.

        Raises:
            ValueError: it is too small, or no multiple of ``size_step``.
        """
        if size < self.min_size:
            raise ValueError(f"{self.name} needs clips of {self.min_size} pixels or more, got {size}")
        if size % self.size_step:
            near = size - size % self.size_step
            raise ValueError(
                f"{self.name} cuts clips into patches of {self.size_step} pixels: expected a multiple of it, "
                f"got {size}; use {near} or {near + self.size_step}"
            )


GEOMETRY = {
    g.name: g
    for g in (
        Geometry("tiny", min_size=16),
        Geometry("slow_r50", min_size=32),
        Geometry("r3d_18", min_size=32, weights="R3D_18_Weights"),
        Geometry("r3d_18_thin", min_size=32),
        Geometry("r2plus1d_18", min_size=32, weights="R2Plus1D_18_Weights"),
        Geometry("r2plus1d_18_thin", min_size=32),
        Geometry("s3d", min_size=32, weights="S3D_Weights"),
        Geometry("s3d_g", min_size=32),
        Geometry("vit_b16", min_size=16, size_step=16, frames_per_feature=2),
    )
}
"""Every backbone by name."""

CAN_LOAD = ("slow_r50", *(name for name, g in GEOMETRY.items() if g.weights))
"""Backbones that published weights can be loaded into."""


def model_contradictions(config: TrainConfig) -> Iterator[str]:
    """One line for everything about the model that cannot be: what is wrong, and what to change.

    Needs the clips, the Koopman rank and the method beside the model, therefore the whole configuration.
    """
    model, geometry = config.model, GEOMETRY[config.model.backbone]
    try:
        geometry.check_size(config.clip.size)
    except ValueError as error:
        yield f"clip.size: {error}"
    try:
        features = geometry.frames_out(config.clip.frames)
    except ValueError as error:
        yield f"clip.frames: {error}"
    else:
        yield from _too_short(config, features)
    if model.backbone != "tiny" and model.width != ModelConfig.width:
        yield f"model.width is for the tiny backbone; {model.backbone} has its own widths: drop it"
    if model.temporal_padding != ModelConfig.temporal_padding and geometry.frames_per_feature > 1:
        yield f"model.temporal_padding: {model.backbone} has no temporal convolutions to pad: drop it"
    if model.projector_norm and model.projector_layers == 1:
        yield (
            "model.projector_norm: a projector of one layer has no hidden layer to normalise; use 2 layers "
            "or --model.no-projector-norm"
        )
    if model.weights is not None:
        yield from _wrong_weights(model, geometry)


def _too_short(config: TrainConfig, features: int) -> Iterator[str]:
    name, frames = config.model.backbone, config.clip.frames
    if config.decouple != "none" and features < MIN_FEATURES:
        least = MIN_FEATURES * GEOMETRY[name].frames_per_feature
        yield (
            f"clip.frames: {name} makes {features} features of {frames} frames, and the Koopman operator "
            f"needs {MIN_FEATURES}; use {least} frames or more, or decouple none"
        )
    elif config.koopman.rank is not None and config.koopman.rank > features - 1:
        yield (
            f"koopman.rank: {name} makes {features} features of {frames} frames, which are {features - 1} "
            f"pairs, so rank is at most {features - 1}; got {config.koopman.rank}"
        )


def _wrong_weights(model: ModelConfig, geometry: Geometry) -> Iterator[str]:
    if model.backbone not in CAN_LOAD:
        yield (
            f"model.weights: there are no published weights for {model.backbone}; drop it, or use one of "
            f"{', '.join(CAN_LOAD)}"
        )
        return
    kind = str(model.weights).partition(".")[0]
    owner = next((g.name for g in GEOMETRY.values() if g.weights == kind), None)
    if owner is not None and owner != model.backbone:
        yield f"model.weights: {model.weights} are weights of {owner}, not of {model.backbone}"
