"""Run folders with results, for tables."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from bodvcl.runs.results import Result

PROTOCOL = {"tune": "all", "test": "10 clips x 3 crops", "epochs": 16}


def pretrained(folder: Path, seed: int = 0, decouple: str = "bod", **options: object) -> Path:
    """The folder of a pre-training; ``koopman={"xi": 0.2}`` for other options."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"method": "simclr", "decouple": decouple, "seed": seed, "data": "kinetics400:/here"}
    config |= {"model": {"backbone": "slow_r50"}, "koopman": {"xi": 0.1}, "run_dir": str(folder)}
    config |= {"clip": {"frames": 8, "stride": 8, "size": 224, "fps": 30.0}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config | options))
    return folder


def evaluated(folder: Path, checkpoint: Path | None, top1: float, **changes: object) -> Path:
    """The folder of a fine-tuning on UCF101."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "kind": "finetune",
        "data": "ucf101@1:/u",
        "protocol": PROTOCOL,
        "seed": 0,
        "train": 9,
        "test": 3,
    }
    facts |= {"metrics": {"top1": top1, "top5": 0.99}, "seconds": 1.0, "commit": "abc1234"} | changes
    Result(checkpoint=None if checkpoint is None else str(checkpoint), **facts).save(folder)
    return folder


def probed(folder: Path, value: float, seed: int = 0, **options: object) -> Path:
    """The folder of a pre-training with the probe at its end."""
    pretrained(folder, seed, **options)
    row = {"semantic": "digit", "features": "static", "pretrained": value, "untrained": 0.3, "train": 8}
    rows = [
        {**row, "test": 8, "skipped": None},
        {"semantic": "name", "features": "static", "skipped": "one each"},
    ]
    (folder / "probe.json").write_text(json.dumps({"rows": rows}))
    return folder


def probe_file(path: Path, checkpoint: Path, value: float, **facts: object) -> Path:
    """A file of ``bodvcl probe --out``."""
    row = {"semantic": "digit", "features": "static", "skipped": None, "train": 8, "test": 8, "classes": 4}
    rows = [{**row, "probe": "ridge", "metric": "top1", "value": value}]
    rows += [{**row, "probe": "knn", "metric": "top1", "value": value}]
    rows += [{**row, "probe": "retrieval", "metric": "R@1", "value": value}]
    clip = {"frames": 8, "stride": 8, "size": 224, "fps": 30.0}
    content = {
        "checkpoint": str(checkpoint),
        "data": "kinetics400:/there",
        "clips_per_video": 3,
        "clip": clip,
    }
    content |= {"control": "none", "k": 200, "temperature": 0.07, "seed": 0}
    path.write_text(json.dumps({**content, **facts, "rows": rows, "per_class": []}))
    return path
