"""The trained encoder in a file of its own, ``encoder.pt``: what other programs need to use it."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

import bodvcl
from bodvcl.config.parse import validate
from bodvcl.config.saved import as_meant
from bodvcl.config.schema import ModelConfig, TrainConfig
from bodvcl.engine.checkpoint.file import (
    CLASSIFIER,
    ENCODER,
    FORMAT,
    LAST,
    first_lines,
    read_state,
    write_state,
)
from bodvcl.errors import CheckpointError, ConfigError
from bodvcl.models.encoder import VideoEncoder, build_encoder
from bodvcl.runs.folder import verb_of_run

_CLASSIFIER = "{} holds a classifier of bodvcl finetune; give the run of an encoder"


def save_encoder(run_dir: Path, step: int, settings: str, model: ModelConfig, encoder: VideoEncoder) -> Path:
    """Write ``checkpoint/encoder.pt``.

    Args:
        run_dir: folder of the run.
        step: steps that are done.
        settings: configuration of the run, as YAML.
        model: configuration of the encoder.
        encoder: the encoder.

    Raises:
        NotFinite: weights or statistics are NaN or infinite; an earlier file is untouched.
        CheckpointError: the disk is full or cannot be written; an earlier file is untouched.
    """
    return write_state(
        run_dir / ENCODER,
        {
            "format": FORMAT,
            "version": bodvcl.__version__,
            "step": step,
            "config": settings,
            "folder": _current_folder(),
            "model": dataclasses.asdict(model),
            "encoder": {name: t.cpu() for name, t in encoder.state_dict().items()},
        },
    )


def load_encoder(path: Path | str, device: torch.device | str = "cpu") -> VideoEncoder:
    """The trained encoder of a run, in evaluation mode.

    Args:
        path: ``encoder.pt`` or a run folder.
        device: device of the encoder.

    Raises:
        CheckpointError: as :func:`load_run`.
    """
    return load_run(path, device)[0]


def load_run(path: Path | str, device: torch.device | str = "cpu") -> tuple[VideoEncoder, TrainConfig]:
    """The trained encoder of a run, in evaluation mode, and the configuration of the run.

    Args:
        path: ``encoder.pt`` or a run folder.
        device: device of the encoder.

    Raises:
        CheckpointError: no such file, not a checkpoint of bodvcl, or the training state ``last.pt``.
    """
    file, state = read_encoder(Path(path), device)
    config = saved_config(file, state)
    return rebuilt_encoder(file, state, state["model"], state["encoder"]).to(device).eval(), config


def saved_config(file: Path, state: Mapping[str, Any]) -> TrainConfig:
    """The configuration in a checkpoint.

    Args:
        file: the checkpoint, for messages.
        state: what it holds.

    Raises:
        CheckpointError: it has options that this version does not know.
    """
    try:
        return validate(as_meant(yaml.safe_load(str(state["config"]))))
    except (ConfigError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{file} was written by bodvcl {state['version']} with options that bodvcl {bodvcl.__version__} "
            f"does not have: {first_lines(error)}"
        ) from error


def rebuilt_encoder(
    file: Path, state: Mapping[str, Any], model: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> VideoEncoder:
    """An encoder with the weights of a checkpoint.

    Args:
        file: the checkpoint, for messages.
        state: what it holds.
        model: configuration of the encoder, as a mapping.
        weights: its parameters and statistics by name.

    Raises:
        CheckpointError: they do not fit each other.
    """
    try:
        encoder = build_encoder(ModelConfig(**model))
        encoder.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{file} was written by bodvcl {state['version']} and does not fit the encoder of bodvcl "
            f"{bodvcl.__version__} ({first_lines(error)}): use it with the version that wrote it"
        ) from error
    return encoder


def training_folder(path: Path) -> Path | None:
    """The folder from which the run was started; relative paths in its configuration start there.

    Args:
        path: ``encoder.pt`` or a run folder.

    Returns:
        None: unknown. Older versions did not save it, or the folder was removed during training.

    Raises:
        CheckpointError: as :func:`load_run`.
    """
    folder = read_encoder(path)[1].get("folder")
    return None if folder is None else Path(folder)


def trained_steps(path: Path) -> int:
    """Training steps of an encoder.

    Args:
        path: ``encoder.pt`` or a run folder.

    Raises:
        CheckpointError: as :func:`load_run`.
    """
    return int(read_encoder(path, torch.device("meta"))[1].get("step", 0))


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return None


def read_encoder(path: Path, device: torch.device | str = "cpu") -> tuple[Path, dict[str, Any]]:
    """The file of an encoder, and what it holds: ``version``, ``step``, ``config``, ``model``, ``encoder``.

    Args:
        path: ``encoder.pt`` or a run folder.
        device: device of its tensors.

    Raises:
        CheckpointError: as :func:`load_run`.
    """
    file = path / ENCODER if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise CheckpointError(_without_encoder(path, file))
    state = read_state(file, torch.device(device))
    if "classifier" in state:
        raise CheckpointError(_CLASSIFIER.format(path))
    if "model" not in state:
        raise CheckpointError(
            f"{file} holds the state of a training run, not an encoder; give the run folder or its {ENCODER}"
        )
    if missing := [name for name in ("config", "version", "encoder") if name not in state]:
        raise CheckpointError(f"{file} is not a bodvcl checkpoint: it has no {' and no '.join(missing)}")
    return file, state


def _without_encoder(folder: Path, file: Path) -> str:
    """Why a folder has no encoder."""
    if (folder / CLASSIFIER).exists():
        return _CLASSIFIER.format(folder)
    if not (folder / LAST).exists():
        return f"no checkpoint at {file}; expected the folder of a run, or an encoder.pt"
    return (
        f"no encoder in {folder}: its training was not finished or stopped properly; continue it with: "
        f"bodvcl {verb_of_run(folder / 'config.yaml')} --resume --run-dir {shlex.quote(str(folder))}"
    )
