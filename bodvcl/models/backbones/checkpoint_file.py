"""The tensors in a checkpoint file of any project: found inside of what it wraps them in."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from bodvcl.errors import CheckpointError

WRAPPERS = (
    "model_state",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "teacher",
    "student",
    "encoder_q",
    "online_network",
    "online_encoder",
    "base_encoder",
    "encoder",
    "backbone",
)
"""Keys under which projects save weights; the first that there is counts. Of DINO's two networks it is the
teacher, as in its own evaluation."""


class Found(NamedTuple):
    """Weights of a file.

    Attributes:
        weights: name to tensor.
        remark: which of several networks they are; empty: there is one.
        ours: whether bodvcl trained them.
    """

    weights: Mapping[str, Tensor]
    remark: str = ""
    ours: bool = False


def read_tensors(path: Path) -> Found:
    """The weights in a checkpoint of PyTorch or Lightning, or in a .safetensors file.

    No code in the file is run.

    Raises:
        CheckpointError: no such file, not readable, or without weights.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # the options of many projects
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(not_there(path, error.strerror or str(error))) from error
    except Exception as error:  # the unpickler takes any bytes for instructions and may raise anything
        raise CheckpointError(
            f"{path} is not a checkpoint that PyTorch can read safely: damaged, another kind of file, or "
            "with objects beside the weights (save its state_dict alone; for Caffe2's .pkl use the .pyth)"
        ) from error
    return _unwrapped(path, state)


def not_there(path: str | Path, why: str) -> str:
    """What is said of weights that cannot be opened."""
    return (
        f"cannot read weights {path}: {why}; expected a file or a name such as R3D_18_Weights.KINETICS400_V1"
    )


def some(names: Iterable[str], most: int = 3) -> str:
    """The first names, and dots for the rest."""
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _read_safetensors(path: Path) -> Found:
    try:
        with safe_open(path, framework="pt") as file:
            ours = "bodvcl" in (file.metadata() or {})
        return Found(load_file(path), ours=ours)
    except FileNotFoundError as error:
        raise CheckpointError(not_there(path, error.strerror or "No such file")) from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable .safetensors file ({error})") from error


def _unwrapped(path: Path, state: Any) -> Found:
    remark, ours = "", isinstance(state, Mapping) and {"format", "version", "encoder"} <= {*state}
    while isinstance(state, Mapping):
        weights = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
        inner = [key for key in WRAPPERS if _has_tensors(state.get(key))]
        if weights and not inner:
            return Found(weights, remark, ours)
        if not inner:
            break
        others = [str(key) for key in state if key != inner[0] and _has_tensors(state[key])]
        if others:
            remark = f"of what the file holds it takes {inner[0]}, not {some(others)}"
        state = state[inner[0]]
    keys = some(map(str, state), 5) if isinstance(state, Mapping) and state else type(state).__name__
    raise CheckpointError(
        f"{path} holds no weights: expected a dictionary of tensors by name, by itself or under a key such "
        f"as state_dict or model; found {keys}"
    )


def _has_tensors(state: Any) -> bool:
    return isinstance(state, Mapping) and any(
        isinstance(value, Tensor) or (key in WRAPPERS and _has_tensors(value)) for key, value in state.items()
    )
