"""Encoders from kept checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from bodvcl.engine.checkpoint import ENCODER, LAST, kept_checkpoints, load_encoder, load_kept
from bodvcl.errors import CheckpointError


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_last_kept_encoder_is_the_trained_one(kept_runs: list[Path]) -> None:
    for run in kept_runs:
        paths = kept_checkpoints(run)
        assert [path.name for path in paths] == ["epoch-0001.pt", "epoch-0002.pt"]
        first, last = (load_kept(path) for path in paths)
        assert (first.step, last.step) == (3, 6)
        trained = load_encoder(run)
        assert same(last.encoder, trained)
        assert same(load_kept(run / ENCODER).encoder, trained)
        assert not same(first.encoder, trained)
        assert not last.encoder.training
        assert last.config.epochs == 2


def test_what_is_no_checkpoint(kept_runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_kept(tmp_path / "epoch-0001.pt")
    moved = tmp_path / "epoch-0003.pt"
    shutil.copy(kept_runs[0] / ENCODER, moved)
    with pytest.raises(CheckpointError, match="holds no encoder of a run: it has no learner"):
        load_kept(moved)
    state = torch.load(kept_runs[0] / LAST, weights_only=True)
    del state["learner"][next(iter(state["learner"]))]
    torch.save(state, moved)
    with pytest.raises(CheckpointError, match="does not fit the encoder"):
        load_kept(moved)
