"""The folders beside a checkpoint's file that hold tensors which are cut over the ranks: making, finding and
removing them."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bodvcl.engine.checkpoint.file import FOLDER, LAST, read_state, unwritten
from bodvcl.errors import CheckpointError


def new_folder(path: Path, step: int) -> Path:
    """Make the folder of the tensors of a checkpoint, under a name that did not exist.

    Args:
        path: file of the checkpoint.
        step: steps that are done.

    Raises:
        CheckpointError: it cannot be made.
    """
    for number in itertools.count(1):
        folder = path.with_name(f"shards-{step:08d}" + (f"-{number}" if number > 1 else ""))
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise unwritten(path, 0, error) from error
        return folder
    raise AssertionError("unreachable")


def folder_of(path: Path, head: Mapping[str, Any]) -> Path:
    """The folder of the tensors that belong to a head.

    Raises:
        CheckpointError: it is not there.
    """
    folder = path.with_name(Path(str(head[FOLDER])).name)
    if not (folder / ".metadata").exists():
        raise CheckpointError(
            f"{path} holds no tensors of its own, and {folder}, where they should be, is not there or not "
            "complete: copy the folder too, or copy another step-*.pt or epoch-*.pt over the file"
        )
    return folder


def remove_unused_folders(run_dir: Path) -> None:
    """Remove the folders of tensors that no checkpoint of the run needs any more. Only rank 0 calls it.

    Where a checkpoint cannot be read, nothing is removed.
    """
    place = (run_dir / LAST).parent
    folders = [folder for folder in place.glob("shards-*") if folder.is_dir()]
    if not folders:
        return
    try:
        heads = [read_state(path, torch.device("meta")) for path in place.glob("*.pt")]
    except CheckpointError:
        return
    used = {head.get(FOLDER) for head in heads}
    for folder in folders:
        if folder.name not in used:
            shutil.rmtree(folder, ignore_errors=True)
