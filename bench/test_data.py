"""Clips per second of processor time of the data path, from files to what the network takes.

Every route decodes the same frames of the same files; that they are the same (or within the tolerance of two
converters) is asserted first. Processor time of all threads of this process is measured, not elapsed time: a
figure is clips per second and core, whatever else the machine does.

`bare_pyav`: one open per video, one seek per clip, one decoding thread, frames to RGB arrays; no crop, resize
or colour. `torchcodec_torchvision`: `get_frames_at` for all frames of a video, then crop, resize, colour,
blur and normalisation by torchvision v2, clip by clip. `decode`: our PyAV reader alone. `pyav`, `torchcodec`,
`dali`: our sources, with the augmentation. DALI decodes only VP9 here, so it has files of its own.
`times_bare` and `times_torchcodec_torchvision` are ratios to these routes, timed in turn with them: above 1
is faster.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as vision

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.boxes import box_in_pixels
from bodvcl.data.clips.draws import ClipDraws
from bodvcl.data.clips.plan import ClipPlan, collect
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.data.sources.source_choice import can_run_torchcodec

VIDEOS, ROUNDS, FRAMES = 4, 3, 300
HEIGHT, WIDTH = 256, 340
RECIPE = AugmentConfig(
    crop_area=(0.2, 0.766), brightness=0.6, contrast=0.6, saturation=0.6, hue=0.15, gray=0.2, blur=0.5
)
SHAPES = {"8x8": (8, 8), "16x4": (16, 4)}
CODECS = {
    "h264": ("mp4", "libx264", {"crf": "23", "preset": "veryfast"}, 250),
    "vp9": ("webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime", "crf": "32"}, 128),
}
CPU = torch.device("cpu")
TOLERANCE = 3.0  # mean difference, in levels of 255, between two libraries' frames


@dataclass(frozen=True)
class Case:
    """Videos on disk, and which clips are cut from them."""

    plan: ClipPlan
    indices: list[int]
    draws: list[ClipDraws]

    @property
    def clips(self) -> int:
        """Clips in one pass over the videos."""
        return len(self.indices) * self.plan.clip.views


def write_film(path: Path, codec: str, seed: int) -> Path:
    """A panning texture with grain, 340x256, 30 frames a second."""
    _, encoder, options, gop = CODECS[codec]
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(30, 220, (1, 3, 40, 56)))
    scene = vision.resize(coarse, [2 * HEIGHT, 2 * WIDTH], antialias=True)[0].permute(1, 2, 0).numpy()
    with av.open(str(path), "w") as out:
        stream = out.add_stream(encoder, rate=30)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.options, stream.codec_context.gop_size = options, gop
        for number in range(FRAMES):
            top, left = number * HEIGHT // FRAMES, round(WIDTH / 2 * (1 + np.sin(number / 20)))
            image = scene[top : top + HEIGHT, left : left + WIDTH] + rng.normal(0, 3, (HEIGHT, WIDTH, 1))
            frame = av.VideoFrame.from_ndarray(image.clip(0, 255).astype(np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> dict[str, list[VideoInfo]]:
    """The videos of each codec."""
    folder = tmp_path_factory.mktemp("bench")
    return {
        codec: [
            probe_video(write_film(folder / f"{codec}{seed}.{suffix}", codec, seed)) for seed in range(VIDEOS)
        ]
        for codec, (suffix, *_) in CODECS.items()
    }


def make_case(videos: list[VideoInfo], shape: str, size: int) -> Case:
    length, stride = SHAPES[shape]
    plan = ClipPlan(videos, ClipConfig(frames=length, stride=stride, size=size), RECIPE, VIDEOS, seed=0)
    indices = plan.indices(0, 0)
    return Case(plan, indices, [plan.draws(0, index) for index in indices])


def bare_pyav(video: VideoInfo, frames: np.ndarray) -> np.ndarray:
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


def our_frames(video: VideoInfo, frames: np.ndarray) -> np.ndarray:
    """Our reader, at the video's own size: uint8 (clips, L, H, W, 3)."""
    return read_frames(video, frames.reshape(-1)).reshape(*frames.shape, video.height, video.width, 3)


def torchcodec_frames(video: VideoInfo, frames: np.ndarray) -> torch.Tensor:
    """Straightforward TorchCodec: uint8 (clips, L, 3, H, W)."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(video.path, num_ffmpeg_threads=1)
    return decoder.get_frames_at(frames.reshape(-1).tolist()).data.unflatten(0, frames.shape)


def torchvision_clip(clip: torch.Tensor, draws: ClipDraws, view: int, size: int) -> torch.Tensor:
    """One clip (L, 3, H, W) through torchvision v2; jitter strengths are fixed, their cost is the same."""
    box = box_in_pixels(draws.boxes[view], *clip.shape[-2:])
    clip = vision.resized_crop(clip, *box, [size, size], antialias=True)
    if draws.flip[view]:
        clip = vision.horizontal_flip(clip)
    if not np.array_equal(draws.colour[view], np.eye(3, 4, dtype=np.float32)):
        clip = vision.adjust_brightness(clip, 1.2)
        clip = vision.adjust_contrast(clip, 0.8)
        clip = vision.adjust_saturation(clip, 1.2)
        clip = vision.adjust_hue(clip, 0.05)
    if draws.sigma[view] > 0:
        clip = vision.gaussian_blur(clip, [13, 13], [float(draws.sigma[view])] * 2)
    clip = vision.to_dtype(clip, torch.float32, scale=True)
    return vision.normalize(clip, [RECIPE.mean] * 3, [RECIPE.std] * 3)


def run_bare_pyav(case: Case) -> None:
    for index, draws in zip(case.indices, case.draws):
        bare_pyav(case.plan.videos[index], draws.frames)


def run_decode(case: Case) -> None:
    for index, draws in zip(case.indices, case.draws):
        our_frames(case.plan.videos[index], draws.frames)


def run_torchcodec_torchvision(case: Case) -> torch.Tensor:
    clips = [
        torchvision_clip(clip, draws, view, case.plan.clip.size)
        for index, draws in zip(case.indices, case.draws)
        for view, clip in enumerate(torchcodec_frames(case.plan.videos[index], draws.frames))
    ]
    return torch.stack(clips).transpose(1, 2)


def run_pyav(case: Case) -> ClipBatch:
    batch = next(PyAVSource(case.plan, workers=0).epoch(0))
    finish(batch, case.plan.augment)
    return batch


def run_torchcodec(case: Case) -> ClipBatch:
    from bodvcl.data.sources.torchcodec_source import load_clips

    size = case.plan.clip.size
    pairs = zip(case.indices, case.draws)
    clips = [load_clips(case.plan.videos[index], draws, size, CPU) for index, draws in pairs]
    batch = collect(torch.cat(clips), case.indices, case.draws)
    finish(batch, case.plan.augment)
    return batch


def dali_route(case: Case) -> Callable[[Case], ClipBatch]:
    """The DALI source goes on from batch to batch: an epoch has one."""
    from bodvcl.data.sources.dali_source import DaliSource

    source = DaliSource(case.plan, CPU, workers=1)
    epochs = iter(range(10**6))

    def run(_: Case) -> ClipBatch:
        batch = next(source.epoch(next(epochs)))
        finish(batch, case.plan.augment)
        return batch

    return run


ROUTES: dict[str, Callable] = {
    "bare_pyav": run_bare_pyav,
    "torchcodec_torchvision": run_torchcodec_torchvision,
    "decode": run_decode,
    "pyav": run_pyav,
    "torchcodec": run_torchcodec,
}


def need_torchcodec() -> None:
    able, why_not = can_run_torchcodec([])
    if not able:
        pytest.skip(why_not)


def check(case: Case, route: str, run: Callable) -> None:
    """All routes see the same frames, and our sources the same clips."""
    index, draws = case.indices[0], case.draws[0]
    ours, bare = (read(case.plan.videos[index], draws.frames) for read in (our_frames, bare_pyav))
    np.testing.assert_array_equal(ours, bare)
    if route.startswith("torchcodec"):
        other = torchcodec_frames(case.plan.videos[index], draws.frames).movedim(2, -1).numpy()
        assert np.abs(other.astype(float) - ours).mean() < TOLERANCE
    if route in ("torchcodec", "dali"):
        truth, batch = run_pyav(case), run(case)
        assert torch.equal(batch.videos, truth.videos)
        assert torch.equal(batch.frames, truth.frames)
        assert (batch.clips.float() - truth.clips.float()).abs().mean() < TOLERANCE


def idle() -> float:
    """Processor time when no thread works any more: a source that works ahead has as much to do each time."""
    now, before = time.process_time(), -1.0
    while now - before > 2e-3:
        before = now
        time.sleep(0.05)
        now = time.process_time()
    return now


def measure(benchmark, case: Case, name: str, run: Callable) -> None:
    """Time a route in turn with the bare decode, and with TorchCodec and torchvision where they are there."""

    def seconds(one: Callable) -> float:
        start = idle()
        one(case)
        return idle() - start

    rivals = {"times_bare": run_bare_pyav}
    if can_run_torchcodec([])[0]:
        rivals["times_torchcodec_torchvision"] = run_torchcodec_torchvision
    rounds = [(seconds(run), *map(seconds, rivals.values())) for _ in range(ROUNDS)]
    own = statistics.median(own for own, *_ in rounds)
    benchmark.group = (
        f"data, {name}, 2 clips from each of {VIDEOS} videos of {FRAMES} frames {WIDTH}x{HEIGHT}"
    )
    for place, rival in enumerate(rivals, start=1):
        benchmark.extra_info[rival] = statistics.median(row[place] / row[0] for row in rounds)
    benchmark.extra_info["clips_per_cpu_second"] = case.clips / own
    benchmark.pedantic(run, args=(case,), rounds=1)


@pytest.mark.parametrize("size", [112, 224])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("route", ROUTES)
def test_h264(benchmark, films, route, shape, size, one_thread):
    if route.startswith("torchcodec"):
        need_torchcodec()
    case = make_case(films["h264"], shape, size)
    check(case, route, ROUTES[route])
    measure(benchmark, case, f"h264, {shape} at {size}", ROUTES[route])


@pytest.mark.parametrize("size", [112, 224])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("route", ["bare_pyav", "pyav", "dali"])
def test_vp9(benchmark, films, route, shape, size, one_thread):
    case = make_case(films["vp9"], shape, size)
    run = ROUTES.get(route)
    if route == "dali":
        pytest.importorskip("nvidia.dali", reason="DALI is not installed (pip install nvidia-dali-cuda130)")
        run = dali_route(case)
    check(case, route, run)
    measure(benchmark, case, f"vp9, {shape} at {size}", run)
