"""What follows the training: a summary, the probe, the report, and the last words on the terminal."""

from __future__ import annotations

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
from bodvcl.cli.run_videos import RunVideos
from bodvcl.config.passes import bilevel_of, passes
from bodvcl.config.schema import TrainConfig
from bodvcl.data.sets import built_in
from bodvcl.data.sources.source import ClipSource
from bodvcl.engine.learner import untrained_encoder
from bodvcl.engine.loop import TrainingOutcome
from bodvcl.engine.signals import requeue
from bodvcl.evaluate.end_of_run import evaluate_run
from bodvcl.evaluate.probe_console import probe_summary
from bodvcl.runs.folder import write_atomically
from bodvcl.text.tables import show
from bodvcl.viz.report import write_report


@dataclass(frozen=True)
class TrainedRun:
    """What the training leaves.

    Attributes:
        folder: folder of the run.
        videos: videos that were trained on, and those to probe with.
        source: source of the clips; it knows which videos could not be read.
        outcome: the encoder, the steps, and the signal that stopped the training, if any.
    """

    folder: Path
    videos: RunVideos
    source: ClipSource
    outcome: TrainingOutcome


def finish(config: TrainConfig, device: torch.device, run: TrainedRun) -> int:
    """Write ``summary.json``; after a complete training, probe the encoder and write the report.

    Returns:
        The exit code: 0, or 128 + the number of the signal that stopped the training.

    Raises:
        OSError: a file of the run cannot be written.
    """
    outcome = run.outcome
    summary = summarise(config, device, run)
    write_atomically(run.folder / "summary.json", json.dumps(summary, indent=1).encode())
    if outcome.signal is not None:
        print(f"stopped at step {outcome.step} of {outcome.total}; the state is saved. Continue with:")
        print("  " + shlex.join(["bodvcl", "train", "--resume", "--run-dir", str(run.folder)]))
        if outcome.signal == signal.SIGUSR1:
            print(requeue())
        return 128 + outcome.signal
    if config.log.probe:
        _probe(config, device, run)
    if config.log.report:
        write_report(run.folder)
    report = " and report.html" if config.log.report else ""
    print(f"encoder, checkpoint, metrics{report} are in\n  {run.folder}")
    return 0


def summarise(config: TrainConfig, device: torch.device, run: TrainedRun) -> dict[str, Any]:
    """The content of ``summary.json``: versions, device, steps, time and videos of a run."""
    forward, backward, _ = passes(bilevel_of(config))
    return {
        "bodvcl": bodvcl.__version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "operators": info.brief() if config.fast else "reference",
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
        "steps": run.outcome.step,
        "planned steps": run.outcome.total,
        "seconds": round(run.outcome.seconds, 1),
        "backbone passes per step": f"{forward} forward, {backward} backward",
        "videos": len(run.videos.found.videos),
        "training videos": len(run.videos.train),
        "skipped files": len(run.videos.found.skipped),
        "unreadable while training": len(run.source.failed),
    }


def _probe(config: TrainConfig, device: torch.device, run: TrainedRun) -> None:
    """Probe the encoder and print the scores. A failure becomes a warning: the training is worth hours."""
    entry = built_in(config.data)
    try:
        rows = evaluate_run(
            untrained_encoder(config.model, config.seed),
            run.outcome.encoder,
            run.videos.probe,
            run.folder,
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
    except Exception as error:  # whatever else it is: the training is finished and saved
        warnings.warn(
            f"the training is finished and saved, but its probe failed: {type(error).__name__}: "
            f"{' '.join(str(error).split())}; try: bodvcl probe --checkpoint {shlex.quote(str(run.folder))}",
            stacklevel=2,
        )
