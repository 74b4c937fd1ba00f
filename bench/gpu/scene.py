"""What an R(2+1)D-18 at 112 x 112 learns where the scene gives the video away. Writes figures.json.

First the built-in scenes: the plain method, BOD-VCL as the paper writes it, and with mixed scenes and the
standard deviation over time. Then real hands on real scenes, where a folder with their list is given as
GPU_CHECK_HANDS (`labels.csv` with the columns path, gesture, scene, split). Videos are decoded once and kept
in memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

SECONDS = 520
"""Budget of the trainings: the step ends within nine minutes."""
VARIANTS = ("plain", "std, mix", "BOD-VCL")
NETWORK = ["--model.backbone", "r2plus1d_18", "--clip.size", "112", "--batch-size", "16"]
HANDS = {
    "plain": ["--decouple", "none", "--augment.mix", "0"],
    "std, mix": ["--koopman.dynamic", "std", "--augment.mix", "1"],
}
"""Trainings on real hands."""


def scenes(folder: Path, work: Path, seconds: float, gpu: bool) -> int:
    """The experiment on the built-in scenes; returns its exit code."""
    line = [sys.executable, "-m", "bodvcl.experiments.scene", "--out", str(folder / "scenes")]
    line += ["--variants", *VARIANTS, "--seeds", "1", "--scenes", "--minutes", f"{seconds / 60:.2f}"]
    line += ["--workers", "3" if gpu else "1", "--epochs", "8" if gpu else "1", "--"]
    line += ["--scenes.cache", str(work / "scenes-128"), "--decode.keep", "2"]
    if gpu:
        line += [*NETWORK, "--scenes.size", "128", "--workers", "4"]
    else:
        line += ["--scenes.train-videos", "16", "--scenes.probe-videos", "64", "--scenes.size", "32"]
        line += ["--clip.size", "16", "--model.width", "4", "--batch-size", "8", "--max-steps", "2"]
    return subprocess.run(line).returncode


def hands(folder: Path, listed: Path, until: float, gpu: bool) -> dict[str, float]:
    """Trainings on real hands while there is time: variant and label to the accuracy of z."""
    found = {}
    for name, options in HANDS.items():
        run = folder / "hands" / name.replace(", ", "-")
        line = [sys.executable, "-m", "bodvcl.train", "--config", "scenes", "--data", str(listed)]
        line += ["--run-dir", str(run), *options]
        line += ["--clip.stride", "4", "--augment.flip", "0", "--decode.keep", "2", "--log.no-report"]
        line += [*NETWORK, "--epochs", "20"] if gpu else ["--max-steps", "2", "--batch-size", "8"]
        try:
            subprocess.run(line, check=True, timeout=max(until - time.monotonic(), 1))
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            print(f"{name}: {error}")
            continue
        for row in json.loads((run / "probe.json").read_text())["rows"]:
            if row["features"] == "backbone" and not row["skipped"]:
                found[f"hands, {name}: {row['semantic']}, %"] = round(100 * row["pretrained"], 1)
    return found


def main() -> None:
    """Train what fits into the budget, and write the accuracies."""
    folder, work = Path(sys.argv[1]), Path(os.environ["GPU_CHECK_WORK"])
    gpu = torch.cuda.is_available()
    until = time.monotonic() + SECONDS
    listed = os.environ.get("GPU_CHECK_HANDS")
    code = scenes(folder, work, SECONDS * (0.6 if listed else 1.0) - 40, gpu)
    figures: dict[str, float] = {}
    table = folder / "scenes" / "scene.json"
    if table.exists():
        for line in json.loads(table.read_text())["accuracy"]:
            name = f"{line['variant']}: {line['semantic']} from {line['features']}, %"
            figures[name] = round(line["mean"], 1)
    if listed:
        figures |= hands(folder, Path(listed) / "labels.csv", until, gpu)
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))
    if code:
        sys.exit(f"the experiment ended with exit code {code}")


if __name__ == "__main__":
    main()
