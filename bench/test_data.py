"""Clips per second of the data path on one thread, beside a bare PyAV decode of the same frames.

Bare: one open per video, one seek per clip, one decoding thread, frames to RGB arrays; no crop, resize or
colour. That all routes give the same frames is asserted first. `times_bare` is the ratio to the bare decode,
timed in turn with it in the same process: above 1 the route is faster than bare.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import av
import numpy as np
import pytest
import torch

from bodvcl.config import AugmentConfig, ClipConfig, ShapesConfig
from bodvcl.data import rendered, shapes
from bodvcl.data.augment import finish
from bodvcl.data.clips import ClipDraws, draw_clips
from bodvcl.data.loader import ClipLoader
from bodvcl.data.video import VideoInfo, probe_video, read_frames

VIDEOS = 8
ROUNDS = 4


@dataclass(frozen=True)
class Case:
    """Videos on disk and how clips are cut from them."""

    videos: list[VideoInfo]
    draws: list[ClipDraws]
    clip: ClipConfig
    augment: AugmentConfig


@pytest.fixture(scope="module", params=[(64, 40, 2, 48), (256, 80, 4, 112)], ids=["64px", "256px"])
def case(request, tmp_path_factory) -> Case:
    size, frames, stride, clip_size = request.param
    folder = tmp_path_factory.mktemp("bench")
    config = ShapesConfig(size=size, frames=frames, train_videos=VIDEOS)
    videos = []
    for index in range(VIDEOS):
        path = folder / f"{index}.mp4"
        rendered.encode(path, shapes.render(config, "train", index)[0])
        videos.append(probe_video(path))
    clip, augment = ClipConfig(frames=8, stride=stride, size=clip_size), AugmentConfig(crop_area=(0.2, 0.766))
    draws = [draw_clips(video, clip, augment, seed=0, epoch=0, index=i) for i, video in enumerate(videos)]
    return Case(videos, draws, clip, augment)


def bare_clips(video: VideoInfo, frames: np.ndarray) -> np.ndarray:
    """Straightforward PyAV: uint8 (clips, L, H, W, 3)."""
    clips = []
    with av.open(video.path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        for numbers in frames.tolist():
            wanted = {video.pts_of(number) for number in numbers}
            container.seek(min(wanted), stream=stream)
            images = []
            for frame in container.decode(stream):
                if frame.pts in wanted:
                    images.append(frame.to_ndarray(format="rgb24"))
                if frame.pts >= max(wanted):
                    break
            clips.append(np.stack(images))
    return np.stack(clips)


def our_clips(video: VideoInfo, frames: np.ndarray) -> np.ndarray:
    return read_frames(video, frames.reshape(-1)).reshape(*frames.shape, video.height, video.width, 3)


def run_bare(case: Case) -> None:
    for video, draws in zip(case.videos, case.draws):
        bare_clips(video, draws.frames)


def run_ours(case: Case) -> None:
    for video, draws in zip(case.videos, case.draws):
        our_clips(video, draws.frames)


def run_augmented(case: Case) -> None:
    loader = ClipLoader(case.videos, case.clip, case.augment, batch_size=VIDEOS, seed=0, workers=0)
    finish(next(loader.epoch(0)), case.augment)


ROUTES = {"bare": run_bare, "decode": run_ours, "decode+augment": run_augmented}


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seconds(run, case: Case) -> float:
    start = time.perf_counter()
    run(case)
    return time.perf_counter() - start


@pytest.mark.parametrize("route", ROUTES)
def test_clips(benchmark, case, route, one_thread):
    for video, draws in zip(case.videos[:4], case.draws):
        np.testing.assert_array_equal(our_clips(video, draws.frames), bare_clips(video, draws.frames))
    loader = ClipLoader(case.videos, case.clip, case.augment, batch_size=VIDEOS, seed=0, workers=0)
    batch = next(loader.epoch(0))
    order = batch.videos.tolist()
    np.testing.assert_array_equal(batch.frames, np.concatenate([case.draws[i].frames for i in order]))

    run = ROUTES[route]
    pairs = [(seconds(run_bare, case), seconds(run, case)) for _ in range(ROUNDS)]
    video = case.videos[0]
    benchmark.group = f"data, {video.width}x{video.height}, 2 clips of 8 frames from each of {VIDEOS} videos"
    benchmark.extra_info["times_bare"] = statistics.median(bare / ours for bare, ours in pairs)
    benchmark.pedantic(run, args=(case,), warmup_rounds=1, rounds=ROUNDS)
    benchmark.extra_info["clips_per_second"] = 2 * VIDEOS / benchmark.stats.stats.median
