"""Features of videos, computed once for the same encoder, files, clips and control."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bodvcl
from bodvcl.data.files.stamp import stamp
from bodvcl.data.files.video import VideoInfo
from bodvcl.evaluate.controls import Control
from bodvcl.evaluate.features import VideoFeatures
from bodvcl.evaluate.probed_encoder import ProbedEncoder
from bodvcl.evaluate.weights import weights_hash
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
    facts = {
        "bodvcl": bodvcl.__version__,
        "weights": weights_hash(probed.encoder),
        "model": dataclasses.asdict(probed.model),
        "koopman": dataclasses.asdict(probed.koopman),
        "clip": dataclasses.asdict(probed.clip),
        "normalisation": [probed.augment.mean, probed.augment.std],
        "clips_per_video": clips_per_video,
        "control": control and control.key(),
        "videos": [[*stamp(video), *_inside(video)] for video in videos],
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


def _inside(video: VideoInfo) -> list[Any]:
    """What its file does not tell: the place in a tar file, the images of a folder, the part of a video."""
    return [
        *(video.held or ()),
        *([video.image_bytes, video.fps] if video.images else []),
        *([] if video.whole is None else [video.first, video.frames]),
    ]
