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

import bodvcl
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.tars.held import is_url
from bodvcl.evaluate.controls import Control
from bodvcl.evaluate.features import VideoFeatures
from bodvcl.evaluate.probed_encoder import ProbedEncoder
from bodvcl.runs.folder import write_atomically


def feature_key(
    probed: ProbedEncoder,
    videos: Sequence[VideoInfo],
    clips_per_video: int,
    control: Control | None,
    device: torch.device,
) -> str:
    """Name under which features are kept: a hash of all that they depend on, which labels and splits are not.

    Of the encoder the weights count, of a video its path, size and time of change.
    """
    weights = hashlib.sha256()
    for name, value in sorted(probed.encoder.state_dict().items()):
        weights.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        weights.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    facts = {
        "bodvcl": bodvcl.__version__,
        "weights": weights.hexdigest(),
        "model": dataclasses.asdict(probed.model),
        "koopman": dataclasses.asdict(probed.koopman),
        "clip": dataclasses.asdict(probed.clip),
        "normalisation": [probed.augment.mean, probed.augment.std],
        "clips_per_video": clips_per_video,
        "control": control and control.key(),
        "videos": [_stamp(video) for video in videos],
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


def _stamp(video: VideoInfo) -> list[Any]:
    if video.held is not None and is_url(video.held.whole):  # how large it is and where it lies must do
        return [video.path, *video.held[1:]]
    path = video.path if video.held is None else video.held.whole
    inside: list[Any] = [] if video.held is None else [*video.held[1:]]
    inside += [video.image_bytes, video.fps] if video.images else []
    inside += [] if video.whole is None else [video.first, video.frames]
    try:
        status = os.stat(path)
    except OSError:
        return [os.path.abspath(path), None, None, *inside]
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns, *inside]
