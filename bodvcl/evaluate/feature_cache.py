"""Features of videos, computed once for the same encoder, files, clips and control."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import bodvcl
from bodvcl.config.schema import TrainConfig
from bodvcl.data.files.video import VideoInfo
from bodvcl.evaluate.controls import Control
from bodvcl.runs.folder import write_atomically


@dataclasses.dataclass(frozen=True)
class VideoFeatures:
    """Features of the videos that could be read.

    Attributes:
        rows: ``(videos,)``, their numbers in the list of videos, increasing.
        kinds: kind of features to float32 ``(videos, width)``.
    """

    rows: NDArray[np.int64]
    kinds: dict[str, Tensor]


def feature_key(
    encoder: nn.Module,
    config: TrainConfig,
    videos: Sequence[VideoInfo],
    clips_per_video: int,
    control: Control | None,
    device: torch.device,
) -> str:
    """Name of the features: a hash of all that they depend on. Labels and splits are not among it.

    The encoder counts by its weights, a video by its path, size and time of change.
    """
    weights = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        weights.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        weights.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    facts = {
        "bodvcl": bodvcl.__version__,
        "weights": weights.hexdigest(),
        "model": dataclasses.asdict(config.model),
        "koopman": dataclasses.asdict(config.koopman),
        "clip": dataclasses.asdict(config.clip),
        "normalisation": [config.augment.mean, config.augment.std],
        "clips_per_video": clips_per_video,
        "control": control and control.key(),
        "videos": [_stamp(video.path) for video in videos],
        "device": device.type,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def load_features(folder: Path, key: str) -> VideoFeatures | None:
    """Features saved under this key, or None where there are none that can be read."""
    try:
        with np.load(folder / f"{key}.npz", allow_pickle=False) as arrays:
            kinds = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "rows"}
            return VideoFeatures(arrays["rows"], kinds)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def save_features(folder: Path, key: str, features: VideoFeatures) -> Path:
    """Write features under this key, atomically.

    Raises:
        OSError: as the file system reports it.
    """
    arrays: dict[str, Any] = {name: value.numpy() for name, value in features.kinds.items()}
    buffer = io.BytesIO()
    np.savez(buffer, rows=features.rows, **arrays)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key}.npz"
    write_atomically(path, buffer.getvalue())
    return path


def _stamp(path: str) -> list[Any]:
    try:
        status = os.stat(path)
    except OSError:
        return [os.path.abspath(path), None, None]
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]
