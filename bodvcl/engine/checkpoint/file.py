"""The files of checkpoints: where they are, and how they are read and written."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import bodvcl
from bodvcl.engine.finite import not_finite, some
from bodvcl.errors import CheckpointError
from bodvcl.runs.folder import write_atomically
from bodvcl.system.surroundings import DISK_FULL

FORMAT = 1
LAST = Path("checkpoint") / "last.pt"
"""The newest state of a training, relative to the run folder."""
FOLDER = "shards"
"""Key in a checkpoint without tensors: the name of the folder beside it that holds them."""
ENCODER = Path("checkpoint") / "encoder.pt"
"""The trained encoder, relative to the run folder."""
CLASSIFIER = Path("checkpoint") / "classifier.pt"
"""The classifier that a fine-tuning leaves, relative to the run folder."""


class NotFinite(CheckpointError):
    """A state that contains NaN or infinities is not written.

    Attributes:
        names: names of the values that are not finite.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        super().__init__(f"{path} is not written: {some(names)} not finite")
        self.names = names


def write_state(path: Path, state: Mapping[str, Any]) -> Path:
    """Write a state atomically.

    Raises:
        NotFinite: the state contains NaN or infinities; an earlier file is untouched.
        CheckpointError: the disk is full or cannot be written; an earlier file is untouched.
    """
    if broken := not_finite(state):
        raise NotFinite(path, broken)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise unwritten(path, buffer.tell(), error) from error
    return path


def unwritten(path: Path, size: int, error: BaseException) -> CheckpointError:
    """An error for the user: a checkpoint cannot be written.

    Args:
        path: its file.
        size: bytes that it would have.
        error: why.
    """
    why = first_lines(error)
    if isinstance(error, OSError):
        why = "the disk is full" if error.errno in DISK_FULL else (error.strerror or str(error))
    kept = "the previous checkpoint is intact" if path.exists() else "there is no earlier one"
    return CheckpointError(
        f"cannot write {path} ({size / 1e6:.1f} MB): {why}; {kept}; make room and continue with --resume"
    )


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a state.

    Args:
        path: file of a checkpoint.
        device: device of its tensors.

    Raises:
        CheckpointError: no such file, damaged, not a checkpoint of bodvcl, or of another format.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}") from error
    except EOFError as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint (it ends too early, or is empty)"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is not a readable checkpoint ({reason})") from error
    except Exception as error:  # the unpickler takes any bytes for instructions and may raise anything
        raise CheckpointError(
            f"{path} is not a readable checkpoint (damaged, or another kind of file)"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("format"), int) and state["format"] != FORMAT:
        raise CheckpointError(
            f"{path} is a checkpoint of format {state['format']}, written by bodvcl "
            f"{state.get('version', '(unknown)')}; bodvcl {bodvcl.__version__} reads format {FORMAT}"
        )
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a bodvcl checkpoint of format {FORMAT}")
    return state


def first_lines(error: BaseException) -> str:
    """The first two lines of an error's message, or the name of its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__
