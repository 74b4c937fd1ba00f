"""``bodvcl train --dry-run``: what would be trained, and what the run would find. Nothing is written."""

from __future__ import annotations

import torch

from bodvcl.cli.announce import announcement
from bodvcl.cli.fit import explained, fitted, told
from bodvcl.cli.run_videos import scan_run
from bodvcl.config.parse import dump_yaml
from bodvcl.config.schema import TrainConfig
from bodvcl.data.files.scan import scan
from bodvcl.data.sets import built_in, open_dataset
from bodvcl.engine.checkpoint import LAST, read_checkpoint
from bodvcl.engine.ranks import Ranks, World
from bodvcl.runs.folder import newest_run, refuse_other_run
from bodvcl.runs.lock import refuse_locked
from bodvcl.text.words import counted


def dry_run(config: TrainConfig, device: torch.device, world: World) -> None:
    """Print what would be trained, the resolved configuration, the data and the checkpoint to resume.

    Raises:
        UserError: what would stop the run and costs little to see: arithmetic that the device lacks, no data,
            a run folder that is taken or that another process writes, a checkpoint of another run.
    """
    first = world.rank == 0
    asked = config
    config, _ = fitted(asked, None, device, world)
    lines = announcement(config, device, world)
    if not first:
        return
    if asked.fit:
        config, data = _chosen(asked, device, world)
        lines = announcement(config, device, world)
    else:
        data = _data(config)
    for line in [*lines, "", dump_yaml(config), *data, *_folder(config)]:
        print(line)


def _chosen(asked: TrainConfig, device: torch.device, world: World) -> tuple[TrainConfig, list[str]]:
    """The options with those that are chosen, and lines about the videos and the reasons."""
    found = scan_run(asked)
    config, reasons = fitted(asked, found, device, world)
    found = found.holding(config.clip)
    part = found.training_part()
    line = told(config, len(part.videos), Ranks(World(), device), world.size)
    return config, [*found.summary(), part.text, line, *explained(config, reasons)]


def _data(config: TrainConfig) -> list[str]:
    if built_in(config.data):  # rendered when it is needed
        return []
    found = open_dataset(config.data)
    if found.tars:
        return [f"{counted(len(found.tars), 'tar file')} of {found.name}; a dry run opens none"]
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
    listed = not built_in(config.data)
    state, changed = read_checkpoint(run_dir, dump_yaml(config), torch.device("cpu"), listed)
    return [
        f"{run_dir} would continue at step {state['step']}; whether its videos changed is not checked here",
        *(f"  changed since the checkpoint: {line}" for line in changed),
    ]
