"""Sweeps for tests: a tiny training, and jobs that leave results without any."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

TINY = (
    "--data shapes --device cpu --workers 0 --batch-size 4 --epochs 1 --shapes.train-videos 8 "
    "--shapes.probe-videos 16 --shapes.frames 20 --shapes.size 32 --clip.size 16 --model.width 4 "
    "--model.embed-dim 12 --model.hidden-dim 16"
)
"""Options of a run of two steps."""


def write_sweep(folder: Path, **fields: object) -> Path:
    """A sweep file with these fields; by default two values of xi."""
    values = {"title": "A sweep", "run": f"train {TINY}", "vary": {"koopman.xi": [0.1, 0.2]}} | fields
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def finish(job, value: float = 0.5, seconds: float = 10.0, memory: float = 2.0) -> None:
    """Leave what a finished training leaves: one score of z."""
    job.begin()
    job.run.mkdir(parents=True, exist_ok=True)
    row = {"semantic": "shape", "features": "backbone", "pretrained": value, "untrained": 0.5}
    row |= {"skipped": None, "train": 8, "test": 8}
    clip = {"frames": 8, "stride": 2, "size": 16, "fps": None}
    config = {"data": "shapes", "method": "simclr", "decouple": "bod", "seed": job.seed, "clip": clip}
    config |= {"model": {"backbone": "tiny"}}
    (job.run / "config.yaml").write_text(yaml.safe_dump(config))
    (job.run / "probe.json").write_text(json.dumps({"rows": [row]}))
    (job.run / "summary.json").write_text(json.dumps({"seconds": seconds, "steps": 5}))
    (job.run / "metrics.jsonl").write_text(json.dumps({"step": 5, "memory_gb": memory}) + "\n")
