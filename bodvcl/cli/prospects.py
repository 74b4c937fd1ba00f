"""What a run would find where it is to begin: for a dry run, which writes nothing."""

from __future__ import annotations

import torch

from bodvcl.config.schema import TrainConfig
from bodvcl.data.files.scan import scan
from bodvcl.data.sets import built_in, open_dataset
from bodvcl.engine.checkpoint import LAST, read_checkpoint
from bodvcl.runs.folder import newest_run, refuse_other_run
from bodvcl.runs.lock import refuse_locked
from bodvcl.text.words import counted


def prospects(config: TrainConfig) -> list[str]:
    """Lines about the data and about the checkpoint to go on from. No video is opened.

    Raises:
        UserError: what would stop the run and costs little to see: data that are not there or hold no video,
            a run folder that is taken or written by another process, a checkpoint that does not belong to it.
    """
    return [*_data(config), *_folder(config)]


def _data(config: TrainConfig) -> list[str]:
    if built_in(config.data):  # rendered when it is needed
        return []
    found = open_dataset(config.data)
    if not found.rows:
        scan(config.data, clip=config.clip, workers=0, progress=False)  # which says why there are none
    return [f"{counted(len(found.rows), 'video')} listed in {found.name}; a dry run opens none"]


def _folder(config: TrainConfig) -> list[str]:
    run_dir = config.run_dir or (newest_run() if config.resume else None)
    if run_dir is None:
        return []
    refuse_other_run(run_dir, config.resume)
    refuse_locked(run_dir)
    if not config.resume:
        return []
    if not (run_dir / LAST).exists():
        return [f"{run_dir} has no checkpoint yet: it would start"]
    state, changed = read_checkpoint(run_dir, config, torch.device("cpu"), listed=not built_in(config.data))
    return [
        f"{run_dir} would go on at step {state['step']}; whether its videos are the same is not checked here",
        *(f"  changed since the checkpoint: {line}" for line in changed),
    ]
