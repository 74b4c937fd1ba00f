"""An encoder and what its features depend on."""

from __future__ import annotations

from dataclasses import dataclass

from bodvcl.config.schema import AugmentConfig, ClipConfig, KoopmanConfig, ModelConfig
from bodvcl.models.encoder import VideoEncoder


@dataclass(frozen=True)
class ProbedEncoder:
    """A frozen encoder with the parts of its run's configuration on which its features depend.

    Attributes:
        name: what messages call it.
        encoder: the encoder.
        model: its architecture.
        clip: clips that it is given.
        augment: their normalisation, ``mean`` and ``std``.
        koopman: estimation and split of its static and dynamic stream.
    """

    name: str
    encoder: VideoEncoder
    model: ModelConfig
    clip: ClipConfig
    augment: AugmentConfig
    koopman: KoopmanConfig
