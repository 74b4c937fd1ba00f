"""The verb ``train``: data, run folder, training, probe, report."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import bodvcl
from bodvcl.cli import info
from bodvcl.cli.announce import announcement
from bodvcl.cli.prospects import prospects
from bodvcl.config.parse import dump_yaml
from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.scan import ScanResult, scan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.files.video_list import list_videos
from bodvcl.data.sets import BuiltInSettings, built_in
from bodvcl.data.sets.split_names import of_the_probe
from bodvcl.data.sources.source import ClipSource, open_source
from bodvcl.data.workers.process import default_workers
from bodvcl.engine.device import pick_device
from bodvcl.engine.learner import untrained_encoder
from bodvcl.engine.loop import Outcome, Trainer, passes_per_step
from bodvcl.engine.ranks import PeerFailed, Ranks, World, silent, world_from_environment
from bodvcl.engine.signals import requeue
from bodvcl.engine.wandb_log import check_wandb
from bodvcl.errors import UserError
from bodvcl.evaluate.end_of_run import evaluate_run
from bodvcl.evaluate.probe_console import probe_summary
from bodvcl.evaluate.splits import without_shared
from bodvcl.runs.folder import open_run_dir, write_atomically
from bodvcl.system.global_state import restored
from bodvcl.system.surroundings import as_user_errors
from bodvcl.text.tables import show
from bodvcl.text.words import counted
from bodvcl.viz.report import write_report


@restored()
def pretrain(config: TrainConfig) -> int:
    """Run ``bodvcl train``, in this process's place among those that ``torchrun`` started. Global state of
    PyTorch is put back at the end.

    Returns:
        0 when the run is complete, 128 + the number of the signal that stopped it early.

    Raises:
        UserError: anything that the user can mend; see the class's subclasses.
        SystemExit: another process failed and says so.
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
        for line in announcement(config, device, world.size) if world.rank == 0 else ():
            print(line)
        print("\n" + dump_yaml(config))
        for line in prospects(config) if world.rank == 0 else ():
            print(line)
        return 0
    ranks = Ranks(world, device)
    try:
        with ranks, silent(unless=ranks.first), as_user_errors(_smaller(config)):
            run = _train(config, ranks, world, held)
    except PeerFailed:
        raise SystemExit(2) from None
    except UserError as error:
        if not ranks.speaks:
            raise SystemExit(2) from None
        if ranks.rank:
            raise type(error)(f"process {ranks.rank}: {error}") from error
        raise
    if not ranks.first:
        return 0 if run.outcome.signal is None else 128 + run.outcome.signal
    return _finish(config, device, run)


def _smaller(config: TrainConfig) -> str:
    return (
        f"lower --batch-size, or cut the batch with --accumulate {2 * config.accumulate} "
        "(--dry-run estimates what a run needs)"
    )


@dataclass(frozen=True)
class _Run:
    """What training leaves for the evaluation."""

    folder: Path
    videos: ScanResult
    source: ClipSource
    outcome: Outcome


def _train(config: TrainConfig, ranks: Ranks, world: World, held: contextlib.ExitStack) -> _Run:
    for line in announcement(config, ranks.device, ranks.size):
        print(line)
    name = f"{config.method}-{config.decouple}"
    run_dir = ranks.tell(lambda: held.enter_context(open_run_dir(config.run_dir, name, config.resume)))
    videos = ranks.tell(lambda: _find_videos(config))
    train_videos, _ = _divide(videos)
    plan = ClipPlan(
        train_videos, config.clip, config.augment, config.batch_size, config.seed, ranks.rank, ranks.size
    )
    source = open_source(
        plan,
        config.decode,
        device=ranks.device,
        decoder=config.decoder,
        workers=_workers(config, world),
    )
    listed = None if built_in(config.data) else ranks.tell(lambda: list_videos(train_videos))
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
    return _Run(run_dir, videos, source, trainer.run())


def _finish(config: TrainConfig, device: torch.device, run: _Run) -> int:
    outcome = run.outcome
    _summarise(run.folder, config, device, outcome, run.videos, run.source)
    if outcome.signal is not None:
        print(f"stopped at step {outcome.step} of {outcome.total}; the state is saved. Continue with:")
        print("  " + shlex.join(["bodvcl", "train", "--resume", "--run-dir", str(run.folder)]))
        if outcome.signal == signal.SIGUSR1:
            print(requeue())
        return 128 + outcome.signal
    _, probe_videos = _divide(run.videos)
    _evaluate(run.folder, config, device, outcome, probe_videos)
    report = " and report.html" if config.log.report else ""
    print(f"encoder, checkpoint, metrics{report} are in\n  {run.folder}")
    return 0


def _workers(config: TrainConfig, world: World) -> int | None:
    """Decoding processes of this process: its share of the machine's cores, where none are set."""
    if config.workers is not None or world.local_size == 1:
        return config.workers
    return max(1, default_workers() // world.local_size)


def _find_videos(config: TrainConfig) -> ScanResult:
    settings = BuiltInSettings(config.shapes, config.digits)
    found = scan(config.data, clip=config.clip, settings=settings, workers=config.workers)
    found.refuse_flip(config.augment.flip)
    for line in found.summary():
        print(line)
    print(found.training_part().text)
    left_out = len(_to_probe(found)) - len(_divide(found)[1])
    if config.log.probe and left_out:
        print(f"the probe after training does not test on {counted(left_out, 'video')} that it trains on")
    return found


def _to_probe(found: ScanResult) -> list[VideoInfo]:
    """The videos of splits of the probe, where there are any; else all."""
    return [video for video in found.videos if of_the_probe(video.split)] or found.videos


def _divide(found: ScanResult) -> tuple[list[VideoInfo], list[VideoInfo]]:
    """Videos to train on, and videos to probe with: those of splits named probe_*, where there are any.

    Else all: the probe then keeps to the data's own train and test splits. A video that trains the probe does
    not test it.
    """
    return found.training(), without_shared(_to_probe(found))


def _evaluate(
    run_dir: Path, config: TrainConfig, device: torch.device, outcome: Outcome, probe_videos: list[VideoInfo]
) -> None:
    if config.log.probe:
        entry = built_in(config.data)
        try:
            rows = evaluate_run(
                untrained_encoder(config),
                outcome.encoder,
                probe_videos,
                run_dir,
                device,
                clip=config.clip,
                augment=config.augment,
                koopman=config.koopman,
                seed=config.seed,
                kinds=None if entry is None else entry.kinds,
            )
            show(*probe_summary(rows))
        except OSError:  # a file of the run cannot be written
            raise
        except Exception as error:  # whatever else it is: the training is finished, and is worth hours
            warnings.warn(
                f"the training is finished and saved, but its probe failed: {type(error).__name__}: "
                f"{' '.join(str(error).split())}; try: bodvcl probe --checkpoint {shlex.quote(str(run_dir))}",
                stacklevel=2,
            )
    if config.log.report:
        write_report(run_dir)


def _summarise(
    run_dir: Path,
    config: TrainConfig,
    device: torch.device,
    outcome: Outcome,
    found: ScanResult,
    loader: ClipSource,
) -> None:
    forward, backward = passes_per_step(config)
    summary: dict[str, Any] = {
        "bodvcl": bodvcl.__version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "operators": info.brief() if config.fast else "reference",
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
        "steps": outcome.step,
        "planned steps": outcome.total,
        "seconds": round(outcome.seconds, 1),
        "backbone passes per step": f"{forward} forward, {backward} backward",
        "videos": len(found.videos),
        "skipped files": len(found.skipped),
        "unreadable while training": len(loader.failed),
    }
    write_atomically(run_dir / "summary.json", json.dumps(summary, indent=1).encode())
