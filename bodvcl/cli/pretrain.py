"""Pre-training from a configuration: run folder, videos, training, and what follows it."""

from __future__ import annotations

import contextlib

from bodvcl.cli.announce import announcement
from bodvcl.cli.dry_run import dry_run
from bodvcl.cli.end_of_run import TrainedRun, finish
from bodvcl.cli.fit import fitted, fitted_videos, told
from bodvcl.cli.together import together, workers_of_process
from bodvcl.config.parse import dump_yaml
from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.video_list import list_videos
from bodvcl.data.sets import built_in
from bodvcl.data.sources.source import open_source
from bodvcl.engine.device import pick_device
from bodvcl.engine.loop import Trainer
from bodvcl.engine.ranks import Ranks, World, world_from_environment
from bodvcl.engine.wandb_log import check_wandb
from bodvcl.runs.folder import open_run_dir, write_atomically
from bodvcl.system.global_state import restored


@restored()
def pretrain(config: TrainConfig) -> int:
    """Train as ``bodvcl train`` does. Under ``torchrun``, this process takes its place among the others.

    Global state of PyTorch (random generators, precision flags, current device) is restored at the end.

    Args:
        config: the options of the run, checked.

    Returns:
        0 when the run is complete, 128 + the number of the signal that stopped it early.

    Raises:
        UserError: anything that the user can fix; see the subclasses.
        SystemExit: code 2: another process failed and has printed why.
    """
    with contextlib.ExitStack() as held:
        return _pretrain(config, held)


def _pretrain(config: TrainConfig, held: contextlib.ExitStack) -> int:
    """As :func:`pretrain`; ``held`` keeps the run folder's lock until the end."""
    world = world_from_environment()
    device = pick_device(config.device, world)
    if config.log.wandb is not None:
        check_wandb()
    if config.dry_run:
        dry_run(config, device, world)
        return 0
    ranks = Ranks(world, device)
    with together(ranks, _smaller(config)):
        config, run = _train(config, ranks, world, held)
        if run.outcome.signal is not None:  # a launcher may end all processes as soon as one has ended
            return ranks.tell(lambda: finish(config, device, run))
    if not ranks.first:
        return 0
    return finish(config, device, run)


def _smaller(config: TrainConfig) -> str:
    return (
        f"lower --batch-size, or cut the batch with --accumulate {2 * config.accumulate} "
        "(--dry-run estimates what a run needs)"
    )


def _train(
    config: TrainConfig, ranks: Ranks, world: World, held: contextlib.ExitStack
) -> tuple[TrainConfig, TrainedRun]:
    """Train; returns the options with those that were chosen, and the run."""
    asked = config
    config, _ = fitted(asked, None, ranks.device, world)
    lines = announcement(config, ranks.device, world)  # which refuses what cannot be trained
    if not asked.fit:
        print("\n".join(lines))
    name = f"{config.method}-{config.decouple}"
    run_dir = ranks.tell(lambda: held.enter_context(open_run_dir(config.run_dir, name, config.resume)))
    config, _, videos = ranks.tell(lambda: fitted_videos(asked, ranks.device, world))
    if asked.fit:
        print("\n".join([told(config, len(videos.train), ranks), *announcement(config, ranks.device, world)]))
    plan = ClipPlan(
        videos.train, config.clip, config.augment, config.batch_size, config.seed, ranks.rank, ranks.size
    )
    source = open_source(
        plan,
        config.decode,
        device=ranks.device,
        decoder=config.decoder,
        workers=workers_of_process(config.workers, world),
        local_size=world.local_size,
    )
    listed = None if built_in(config.data) else ranks.tell(lambda: list_videos(videos.train))
    trainer = Trainer(config, source, run_dir, ranks, listed)
    if config.resume:
        changed = trainer.resume()
        print(
            f"resuming {run_dir} at step {trainer.step}"
            if trainer.step
            else f"{run_dir} has no checkpoint yet: starting"
        )
        for line in changed:
            print(f"  changed since the checkpoint: {line}")
    if ranks.first:
        write_atomically(run_dir / "config.yaml", dump_yaml(config).encode())
    return config, TrainedRun(run_dir, videos, source, trainer.run())
