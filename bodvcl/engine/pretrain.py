"""The verb ``train``: data, run folder, training, probe, report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import bodvcl
from bodvcl import info
from bodvcl.config import TrainConfig
from bodvcl.data.built_in import KINDS, prepare_built_in
from bodvcl.data.scan import ScanResult, scan
from bodvcl.data.source import ClipSource, open_source
from bodvcl.data.video import VideoInfo
from bodvcl.engine.device import pick_device, use_bf16
from bodvcl.engine.learner import untrained_encoder
from bodvcl.engine.loop import Outcome, Trainer, passes_per_step
from bodvcl.evaluate.evaluate_run import evaluate_run
from bodvcl.evaluate.probe_console import console_table
from bodvcl.models.backbones.weights import weights_report
from bodvcl.models.encoder import build_encoder
from bodvcl.models.layout import parameter_count
from bodvcl.parse import dump_yaml
from bodvcl.run_dir import open_run_dir, write_atomically
from bodvcl.viz.report import write_report


def pretrain(config: TrainConfig) -> int:
    """Run ``bodvcl train``.

    Returns:
        0 when the run is complete, 128 + the number of the signal that stopped it early.

    Raises:
        UserError: anything that the user can mend; see the class's subclasses.
    """
    device = pick_device(config.device)
    for line in _what_will_be_trained(config, device):
        print(line)
    if config.dry_run:
        print("\n" + dump_yaml(config), end="")
        return 0
    run_dir = open_run_dir(config.run_dir, f"{config.method}-{config.decouple}", config.resume)
    videos = _find_videos(config)
    train_videos, probe_videos = _divide(videos)
    loader = open_source(config, train_videos, 0, 1, device)
    trainer = Trainer(config, loader, run_dir)
    if config.resume:
        changed = trainer.resume()
        print(
            f"resuming {run_dir} at step {trainer.step}"
            if trainer.step
            else f"{run_dir} has no checkpoint yet: starting"
        )
        for line in changed:
            print(f"  changed since the checkpoint: {line}")
    write_atomically(run_dir / "config.yaml", dump_yaml(config).encode())
    outcome = trainer.run()
    _summarise(run_dir, config, device, outcome, videos, loader)
    if outcome.signal is not None:
        print(f"stopped at step {outcome.step} of {outcome.total}; the state is saved. Continue with:")
        print(f"  bodvcl train --resume --run-dir {run_dir}")
        return 128 + outcome.signal
    _evaluate(run_dir, config, device, outcome, probe_videos)
    print(
        f"encoder, checkpoint, metrics{' and report.html' if config.log.report else ''} are in\n  {run_dir}"
    )
    return 0


def _what_will_be_trained(config: TrainConfig, device: torch.device) -> list[str]:
    forward, backward = passes_per_step(config)
    method = {"none": "plain", "pred": "+ L_pred", "bod": "+ BOD-VCL"}[config.decouple]
    arithmetic = (
        "bf16 backbone in the upper level" if use_bf16(config.precision, config.fast, device) else "fp32"
    )
    with torch.device("meta"):
        parameters = parameter_count(build_encoder(config.model))
    return [
        f"V-SimCLR {method}: {config.batch_size} videos x {config.clip.views} clips of "
        f"{config.clip.frames}x{config.clip.size}x{config.clip.size} a step, {config.epochs} epochs",
        f"{config.model.backbone} backbone and projector, {parameters / 1e6:.2f} M parameters; "
        f"{forward} forward and {backward} backward passes a step; {arithmetic} on {device}",
        *weights_report(config.model),
        info.brief() if config.fast else "reference route (--no-fast): the paper's formulas in PyTorch",
    ]


def _find_videos(config: TrainConfig) -> ScanResult:
    source = prepare_built_in(config) or config.data
    found = scan(source, clip=config.clip, workers=config.workers)
    found.refuse_flip(config.augment.flip)
    for line in found.summary():
        print(line)
    return found


def _divide(found: ScanResult) -> tuple[list[VideoInfo], list[VideoInfo]]:
    """Videos to train on, and videos to probe with: those of splits named probe_*, where there are any."""
    probe = [video for video in found.videos if video.split.startswith("probe")]
    train = found.training()
    return train, probe or train


def _evaluate(
    run_dir: Path, config: TrainConfig, device: torch.device, outcome: Outcome, probe_videos: list[VideoInfo]
) -> None:
    if config.log.probe:
        rows = evaluate_run(
            untrained_encoder(config),
            outcome.encoder,
            probe_videos,
            config,
            run_dir,
            device,
            kinds=KINDS.get(config.data),
        )
        if rows:
            Console().print(console_table(rows))
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
