"""Checkpoints: atomic and complete, and refused where they do not fit."""

from bodvcl.engine.checkpoint.encoder import (
    load_encoder,
    load_run,
    read_encoder,
    rebuilt_encoder,
    save_encoder,
    saved_config,
    trained_steps,
    training_folder,
)
from bodvcl.engine.checkpoint.file import ENCODER, LAST, NotFinite
from bodvcl.engine.checkpoint.folders import remove_unused_folders
from bodvcl.engine.checkpoint.kept import KeptEncoder, kept_checkpoints, load_kept
from bodvcl.engine.checkpoint.retention import keep_checkpoint, save_is_due
from bodvcl.engine.checkpoint.shards import Shards
from bodvcl.engine.checkpoint.training import (
    Changing,
    checkpoint_state,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    saved_step,
    seed_rank,
)

__all__ = [
    "ENCODER",
    "LAST",
    "Changing",
    "KeptEncoder",
    "NotFinite",
    "Shards",
    "checkpoint_state",
    "keep_checkpoint",
    "kept_checkpoints",
    "load_checkpoint",
    "load_encoder",
    "load_kept",
    "load_run",
    "read_checkpoint",
    "read_encoder",
    "rebuilt_encoder",
    "remove_unused_folders",
    "save_checkpoint",
    "save_encoder",
    "save_is_due",
    "saved_config",
    "saved_step",
    "seed_rank",
    "trained_steps",
    "training_folder",
]
