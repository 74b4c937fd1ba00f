"""Where five steps of a real training spend the GPU's time, kernel by kernel. Writes figures.json."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile, schedule

from bodvcl.cli.train import main as train

WARM, STEPS = 4, 5
OURS = {
    "split": re.compile(r"(forward|backward)_(warp|block)|koopman_(forward|backward)$"),
    "InfoNCE": re.compile(r"contrastive_"),
    "augmentation": re.compile(r"augment|median_kernel|mix_kernel"),
}
LARGE = [
    "--model.backbone", "slow_r50", "--clip.size", "224", "--clip.stride", "2", "--batch-size", "16",
    "--shapes.size", "128",
]  # fmt: skip
SMALL = ["--data", "shapes", "--shapes.train-videos", "160", "--shapes.probe-videos", "16"]


def idle_share(intervals: Iterable[tuple[float, float]]) -> float:
    """Share of the time from the first start to the last end in which nothing runs, in [0, 1].

    Args:
        intervals: (start, end) of each kernel or copy; they may overlap.
    """
    ordered = sorted(intervals)
    if not ordered:
        return 1.0
    busy, end = 0.0, ordered[0][0]
    for start, stop in ordered:
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    span = end - ordered[0][0]
    return 1 - busy / span if span > 0 else 0.0


def main() -> None:
    """Train for a few steps under the profiler."""
    folder = Path(sys.argv[1])
    there = torch.cuda.is_available()
    options = [
        "--run-dir",
        str(folder / "run"),
        "--max-steps",
        str(WARM + STEPS + 1),
        "--log.no-probe",
        *SMALL,
    ]
    options += ["--shapes.cache", os.environ["GPU_CHECK_WORK"] + "/shapes-traced"]
    options += LARGE if there else []
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if there else [])]
    with profile(
        activities=activities, schedule=schedule(wait=1, warmup=WARM - 1, active=STEPS, repeat=1)
    ) as traced:
        hook = register_optimizer_step_post_hook(lambda *_: traced.step())
        status = train(options)
        hook.remove()
    if status:
        sys.exit(f"the training ended with exit code {status}")
    averages = traced.key_averages()
    key = "self_device_time_total" if there else "self_cpu_time_total"
    print(averages.table(sort_by=key, row_limit=30, max_name_column_width=80))
    # A kernel is counted in a row of its own, and again in that of the operator that launched it.
    counted = DeviceType.CUDA if there else DeviceType.CPU
    times = {
        event.key: float(getattr(event, key)) / STEPS
        for event in averages
        if event.device_type == counted and not event.is_user_annotation
    }
    total = sum(times.values())
    figures: dict[str, float | str] = {"ms a step, all kernels together": round(total / 1e3, 2)}
    ran = [event.time_range for event in traced.events() if event.device_type == counted]
    figures["share of the time without a kernel or a copy"] = (
        f"{idle_share((r.start, r.end) for r in ran):.2%}"
    )
    for name, pattern in OURS.items():
        own = sum(time for key, time in times.items() if pattern.search(key))
        figures[f"share of the kernels of {name}"] = f"{own / total:.2%}" if total else "no kernel was seen"
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
