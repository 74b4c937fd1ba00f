"""Where torchvision's published weights of a backbone lie on this machine. Nothing is downloaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch
from torchvision.models import get_model_weights

from bodvcl.config.backbones import GEOMETRY, TORCHVISION
from bodvcl.config.schema import ModelConfig
from bodvcl.errors import CheckpointError


def with_weights_on_disk(model: ModelConfig) -> ModelConfig:
    """The options with the path of the file where ``weights`` is ``torchvision``.

    Raises:
        CheckpointError: the file is not there; the message says where it comes from and where it belongs.
    """
    if model.weights != TORCHVISION:
        return model
    return dataclasses.replace(model, weights=str(torchvision_file(model.backbone)))


def torchvision_file(backbone: str) -> Path:
    """The file of torchvision's weights in the folder in which torch.hub keeps files.

    Raises:
        CheckpointError: torchvision has no weights for this backbone, or the file is not there.
    """
    if GEOMETRY[backbone].weights is None:
        raise CheckpointError(f"torchvision has no weights for {backbone}")
    url = get_model_weights(backbone)["DEFAULT"].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(url).path).name
    if not path.is_file():
        raise CheckpointError(
            f"--model.weights torchvision: {path} is not there; put the file {url} there, or give its path"
        )
    return path
