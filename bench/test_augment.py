"""Milliseconds per clip of the augmentation, beside a straightforward torchvision v2 pipeline.

Two starting points: "whole", frames of 340x256 with a crop to cut and resize; "cut", bytes at the size of the
clip, which is where training starts: there a decoding process has done the rest. Nothing is drawn here: every
route applies the same parameters of the k400 recipe to the same clips. The torchvision pipeline is its
functional operations in the order of the recipe, clip by clip, resized in bytes, the rest in float32.

Equality comes first: the routes against the reference, and the torchvision pipeline against the reference
where their definitions coincide (no hue, contrast 1, nothing that clips). `times_torchvision` is the ratio to
the torchvision pipeline, timed in turn with it in the same process: above 1 the route is faster.
`megabytes_per_clip` is computed, not measured: the sizes of all inputs and outputs of all operations; the
kernel's are the bytes that it must read and write.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ceilings import copy_bandwidth
from timing import event_seconds, gpu_times
from torch import Tensor, is_tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.transforms.v2 import functional as vision

from bodvcl.data.clips.colour import colour_matrix
from bodvcl.ops.augment import AugmentParams, MixParams, augment_clips, mix_scenes

MEAN, STD, RADIUS = 0.45, 0.225, 6
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROUNDS = 5


@dataclass(frozen=True)
class Case:
    """Clips, their parameters, and the factors that the colour matrices were made from."""

    clips: Tensor
    params: AugmentParams
    factors: list[tuple[float, float, float, float, bool]]
    size: int


def make(count: int, length: int, size: int, whole: bool, mild: bool = False) -> Case:
    """The k400 recipe; ``mild``: only what torchvision defines alike, on images that nothing clips."""
    rng = np.random.default_rng(0)
    shape = (256, 340) if whole else (size, size)
    low, high = (96, 160) if mild else (0, 256)
    clips = rng.integers(low, high, (count, length, *shape, 3), dtype=np.uint8)
    factors = []
    for _ in range(count):
        brightness, contrast, saturation = rng.uniform(0.4, 1.6, 3)
        hue = rng.uniform(-0.15, 0.15)
        if mild:
            brightness, contrast, hue = rng.uniform(0.8, 1.2), 1.0, 0.0
        factors.append((brightness, contrast, saturation, hue, rng.random() < 0.2))
    side = np.sqrt(rng.uniform(0.2, 0.766, count) * 256 * 340).astype(int).clip(max=256)
    boxes = [(rng.integers(0, 257 - s), rng.integers(0, 341 - s), s, s) for s in side]
    return Case(
        torch.from_numpy(clips).to(DEVICE),
        AugmentParams(
            colour=torch.from_numpy(np.stack([colour_matrix(*f) for f in factors])).float().to(DEVICE),
            flip=torch.from_numpy(rng.random(count) < 0.5).to(DEVICE),
            sigma=torch.from_numpy(np.where(np.arange(count) % 2, rng.uniform(0.1, 2, count), 0))
            .float()
            .to(DEVICE),
            box=torch.tensor(np.array(boxes), device=DEVICE) if whole else None,
        ),
        factors,
        size,
    )


def ours(backend: str, dtype: torch.dtype = torch.float32) -> Callable[[Case], Tensor]:
    def run(case: Case) -> Tensor:
        return augment_clips(
            case.clips, case.params, case.size, MEAN, STD, dtype, radius=RADIUS, backend=backend
        )  # fmt: skip

    return run


def torchvision_pipeline(case: Case) -> Tensor:
    """The operations of the recipe one after the other, clip by clip: (N, 3, L, S, S) float32."""
    out = torch.empty((len(case.clips), 3, case.clips.shape[1], case.size, case.size), device=DEVICE)
    flips, sigmas = case.params.flip.tolist(), case.params.sigma.tolist()
    boxes = None if case.params.box is None else case.params.box.tolist()
    for i, (clip, (brightness, contrast, saturation, hue, gray)) in enumerate(zip(case.clips, case.factors)):
        images = clip.permute(0, 3, 1, 2)
        if boxes is not None:
            images = vision.resized_crop(images, *boxes[i], [case.size, case.size], antialias=True)
        if flips[i]:
            images = vision.horizontal_flip(images)
        images = vision.to_dtype(images, torch.float32, scale=True)
        images = vision.adjust_brightness(images, brightness)
        images = vision.adjust_contrast(images, contrast)
        images = vision.adjust_saturation(images, saturation)
        images = vision.adjust_hue(images, hue)
        if gray:
            images = vision.rgb_to_grayscale(images, num_output_channels=3)
        if sigmas[i] > 0:
            images = vision.gaussian_blur(images, [2 * RADIUS + 1] * 2, [sigmas[i]] * 2)
        out[i] = vision.normalize(images, [MEAN] * 3, [STD] * 3).transpose(0, 1)
    return out


ROUTES: dict[str, Callable[[Case], Tensor]] = {
    **(
        {"triton": ours("triton"), "triton, bf16": ours("triton", torch.bfloat16)} if DEVICE == "cuda" else {}
    ),
    "torchvision": torchvision_pipeline,
    "torch": ours("torch"),
    "reference": ours("reference"),
}
SIZES = [*([(64, 8, 224)] if DEVICE == "cuda" else []), (16, 8, 112), (8, 8, 224), (4, 16, 224)]
"""Clips, frames and side, the most important first."""


def seconds(run: Callable[[Case], Tensor], case: Case) -> float:
    start = time.perf_counter()
    run(case)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


class _Traffic(TorchDispatchMode):
    """Bytes of the inputs and outputs of every operation that is not a view."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += sum(
                x.numel() * x.element_size() for x in tree_leaves((args, kwargs, out)) if is_tensor(x)
            )
        return out


def megabytes(name: str, case: Case) -> float:
    """Per clip."""
    if name.startswith("triton"):
        out = ROUTES[name](case)
        box = case.params.box
        pixels = case.size**2 * len(case.clips) if box is None else int((box[:, 2] * box[:, 3]).sum())
        moved = 3 * pixels * case.clips.shape[1] + out.numel() * out.element_size()
    else:
        with _Traffic() as traffic:
            ROUTES[name](case)
        moved = traffic.bytes
    return moved / len(case.clips) / 1e6


def on_gpu(name: str, case: Case) -> dict[str, float | str]:
    """Times on the device, and of the fused kernel the share of a plain copy's bandwidth."""
    run = ROUTES[name]
    if not name.startswith("triton"):
        return {"event_s": event_seconds(lambda: run(case), rounds=ROUNDS)}
    found = gpu_times(lambda: run(case))
    best = found["graph_s"] if isinstance(found["graph_s"], float) else found["event_s"]
    moved = 1e6 * megabytes(name, case) * len(case.clips)
    return found | {"share_of_copy": moved / best / copy_bandwidth(torch.device("cuda"))}


def assert_equal(name: str, whole: bool) -> None:
    level = 1 / 255 / STD  # of one byte: the resize is in bytes
    for mild in (True, False) if name != "torchvision" else (True,):
        case = make(4, 2, 56, whole, mild)
        gain = float(case.params.colour[:, :, :3].abs().sum(-1).max())
        rounding = 1.01 * level * gain if whole else 0.0
        slack = 1e-3 if name == "torchvision" else 2e-5  # torchvision's luma has four digits
        if name.endswith("bf16"):
            slack = 2e-2
        error = (ROUTES[name](case).float() - ROUTES["reference"](case)).abs().max()
        assert error <= rounding + slack, f"{name}, whole {whole}: {error:.2e}"


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize("whole", [False, True], ids=["cut", "whole"])
@pytest.mark.parametrize(("count", "length", "size"), SIZES)
def test_augment(benchmark, count, length, size, whole, name, one_thread):
    assert_equal(name, whole)
    case = make(count, length, size, whole)
    run = ROUTES[name]
    rounds = ROUNDS if name != "reference" else 2
    seconds(run, case)
    seconds(torchvision_pipeline, case)
    pairs = [(seconds(torchvision_pipeline, case), seconds(run, case)) for _ in range(rounds)]
    benchmark.group = f"augment, {'340x256' if whole else 'cut'} to {length}x{size}x{size}, {count} clips"
    benchmark.extra_info |= {
        "route": name,
        "device": DEVICE,
        "threads": torch.get_num_threads(),
        "megabytes_per_clip": megabytes(name, case),
        **(on_gpu(name, case) if DEVICE == "cuda" else {}),
        "times_torchvision": statistics.median(theirs / mine for theirs, mine in pairs),
        "ms_per_clip_min": 1e3 * min(mine for _, mine in pairs) / count,
        "torchvision_ms_per_clip_min": 1e3 * min(theirs for theirs, _ in pairs) / count,
    }
    benchmark.pedantic(seconds, args=(run, case), rounds=rounds)


@pytest.mark.parametrize("backend", [*(["triton"] if DEVICE == "cuda" else []), "torch"])
@pytest.mark.parametrize(("count", "length", "size"), SIZES)
def test_mix(benchmark, count, length, size, backend, one_thread):
    """Mixed scenes, in place, beside the augmentation of the same clips (cut, without blur)."""
    case = make(count, length, size, whole=False)
    case.params.sigma.zero_()
    rows = torch.arange(count, device=DEVICE)
    mix = MixParams(
        (rows + 1) % count,
        torch.rand(count, device=DEVICE),
    )
    clips = ours("auto")(case)
    got, want = (mix_scenes(clips, mix, backend=route) for route in (backend, "reference"))
    assert (got - want).abs().max() <= 1e-5

    def run(case: Case) -> Tensor:
        return mix_scenes(clips, mix, inplace=True, backend=backend)

    augment = ours("auto")
    for f in (run, augment):
        seconds(f, case)
    pairs = [(seconds(augment, case), seconds(run, case)) for _ in range(ROUNDS)]
    moved = 2 * clips.numel() * clips.element_size()
    benchmark.group = f"mix, {length}x{size}x{size}, {count} clips"
    benchmark.extra_info |= {
        "route": backend,
        "device": DEVICE,
        "threads": torch.get_num_threads(),
        "megabytes_per_clip": moved / count / 1e6,
        "share_of_augment": statistics.median(mine / theirs for theirs, mine in pairs),
        "ms_per_clip_min": 1e3 * min(mine for _, mine in pairs) / count,
    }
    if DEVICE == "cuda":
        event = event_seconds(lambda: run(case), rounds=ROUNDS)
        copied = moved / event / copy_bandwidth(torch.device("cuda"))
        benchmark.extra_info |= {"event_s": event, "share_of_copy": copied}
    benchmark.pedantic(seconds, args=(run, case), rounds=ROUNDS)
