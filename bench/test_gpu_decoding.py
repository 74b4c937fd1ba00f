"""Clips per second that reach the GPU: DALI's hardware decoder against PyAV in several processes.

H.264 of 340x256, two clips of 8 frames with stride 8 from each video, at 224, augmented on the GPU. That both
see the same clips is asserted first. Elapsed time of whole epochs, the workers warm; ``BODVCL_BENCH_WORKERS``
is the number of processes (default: 16, or the number of cores). ``speedup_over_pyav`` is the ratio.

Without a GPU, or without DALI, PyAV alone is timed, with few videos.
"""

from __future__ import annotations

import os

import pytest
import torch
from test_data import RECIPE, TOLERANCE, write_film

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.probing import probe_video
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.data.sources.source import ClipSource

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_GPU = DEVICE.type == "cuda"
WORKERS = int(os.environ.get("BODVCL_BENCH_WORKERS", min(16, os.cpu_count() or 1)))
FILMS, VIDEOS, BATCH, EPOCHS = (16, 256, 32, 3) if ON_GPU else (2, 8, 4, 1)


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> ClipPlan:
    """Videos that share some files: decoding costs the same, writing them does not."""
    folder = tmp_path_factory.mktemp("films")
    films = [probe_video(write_film(folder / f"{seed}.mp4", "h264", seed)) for seed in range(FILMS)]
    clip = ClipConfig(frames=8, stride=8, size=224)
    return ClipPlan([films[i % FILMS] for i in range(VIDEOS)], clip, RECIPE, BATCH, seed=0)


def open_source(route: str, plan: ClipPlan) -> ClipSource:
    if route == "pyav":
        return PyAVSource(plan, workers=WORKERS)
    from bodvcl.data.sources.dali_source import DaliSource

    return DaliSource(plan, DEVICE, workers=WORKERS)


def epoch(source: ClipSource, plan: ClipPlan, number: int) -> int:
    """Bring one epoch to the device; the number of its clips."""
    clips = 0
    for batch in source.epoch(number):
        clips += len(finish(batch, plan.augment, DEVICE))
    if ON_GPU:
        torch.cuda.synchronize()
    return clips


@pytest.mark.parametrize("route", ["pyav", "dali"])
def test_clips_that_reach_the_gpu(benchmark, plan, route):
    if route == "dali":
        pytest.importorskip("nvidia.dali", reason="DALI is not installed (pip install nvidia-dali-cuda130)")
        if not ON_GPU:
            pytest.skip("DALI decodes H.264 on a GPU only")
    source = open_source(route, plan)
    try:
        truth = next(PyAVSource(plan, workers=0).epoch(0))
        first = next(iter(source.epoch(0)))
        assert torch.equal(first.videos.cpu(), truth.videos)
        assert (first.clips.cpu().float() - truth.clips.float()).abs().mean() < TOLERANCE
        clips = epoch(source, plan, 1)
        numbers = iter(range(2, 10**6))
        benchmark.group = f"decoding, {VIDEOS} videos a pass"
        benchmark.pedantic(lambda: epoch(source, plan, next(numbers)), rounds=EPOCHS)
    finally:
        source.close()
    if not benchmark.disabled:
        rate = clips / benchmark.stats.stats.median
        benchmark.extra_info |= {"route": route, "workers": WORKERS, "clips_per_second": rate}
