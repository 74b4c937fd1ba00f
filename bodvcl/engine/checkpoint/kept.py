"""The encoders of a run as training went on: from ``epoch-*.pt`` and ``step-*.pt``, and ``encoder.pt``.

A kept checkpoint is a state of the training, of which the encoder is a part. These functions read that part.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import torch

from bodvcl.config.schema import TrainConfig
from bodvcl.engine.checkpoint.encoder import rebuilt_encoder, saved_config
from bodvcl.engine.checkpoint.file import ENCODER, FOLDER, LAST, read_state
from bodvcl.engine.checkpoint.shards import read_whole
from bodvcl.errors import CheckpointError
from bodvcl.models.encoder import VideoEncoder

_PREFIX = "encoder."


class KeptEncoder(NamedTuple):
    """The encoder after some steps.

    Attributes:
        encoder: in evaluation mode.
        config: configuration of the run.
        step: steps that were done.
    """

    encoder: VideoEncoder
    config: TrainConfig
    step: int


def kept_checkpoints(run_dir: Path) -> list[Path]:
    """The kept checkpoints of a run: first those of whole epochs, then those of steps, each in order."""
    folder = (run_dir / LAST).parent
    return [*sorted(folder.glob("epoch-*.pt")), *sorted(folder.glob("step-*.pt"))]


def load_kept(path: Path, device: torch.device | str = "cpu") -> KeptEncoder:
    """The encoder in a checkpoint of a run.

    Args:
        path: ``last.pt``, ``epoch-*.pt`` or ``step-*.pt`` (also where weights are cut over processes and lie
            in a folder beside it), or ``encoder.pt``.
        device: device of the encoder.

    Raises:
        CheckpointError: no such file, damaged, not a checkpoint of a run, or of another version.
    """
    state = read_state(path, torch.device("cpu"))
    if FOLDER in state:
        state = read_whole(path, state)
    alone = path.name == ENCODER.name
    needed = ("config", "version", "step", "encoder" if alone else "learner")
    if missing := [name for name in needed if name not in state]:
        raise CheckpointError(f"{path} holds no encoder of a run: it has no {' and no '.join(missing)}")
    config = saved_config(path, state)
    weights = (
        state["encoder"]
        if alone
        else {n.removeprefix(_PREFIX): t for n, t in state["learner"].items() if n.startswith(_PREFIX)}
    )
    encoder = rebuilt_encoder(path, state, dataclasses.asdict(config.model), weights)
    return KeptEncoder(encoder.to(device).eval(), config, int(state["step"]))
