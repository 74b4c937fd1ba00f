"""The typed configuration of a run, how it is read, and which options contradict each other."""

from __future__ import annotations

from bodvcl.config.schema import (
    AugmentConfig,
    BilevelConfig,
    ByolConfig,
    ClipConfig,
    DecodeConfig,
    DigitsConfig,
    DualvarConfig,
    HdcConfig,
    KoopmanConfig,
    LogConfig,
    MocoConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimConfig,
    PredictionConfig,
    ScenesConfig,
    ShapesConfig,
    SwavConfig,
    TrainConfig,
)

__all__ = [
    "AugmentConfig",
    "BilevelConfig",
    "ByolConfig",
    "ClipConfig",
    "DecodeConfig",
    "DigitsConfig",
    "DualvarConfig",
    "HdcConfig",
    "KoopmanConfig",
    "LogConfig",
    "MocoConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimConfig",
    "PredictionConfig",
    "ScenesConfig",
    "ShapesConfig",
    "SwavConfig",
    "TrainConfig",
]
