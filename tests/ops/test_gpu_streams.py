"""The operations on streams other than the default, on a second device, and in captured graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from augment_cases import MEAN, RADIUS, STD, case
from koopman_cases import walk
from torch import Tensor

from bodvcl.config.schema import KoopmanConfig, PredictionConfig
from bodvcl.losses import DecoupledInfoNCE
from bodvcl.models.streams import koopman_streams
from bodvcl.objectives.base import ObjectiveInput
from bodvcl.objectives.simclr import SimCLR
from bodvcl.ops.augment import AugmentParams, augment_clips
from bodvcl.ops.contrastive import info_nce
from bodvcl.ops.koopman import koopman_split_and_loss

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

DEVICE = "cuda"
ROWS, FRAMES, WIDTH = 320, 8, 64
BUSY = 2_000_000_000
"""Cycles of a device that has nothing else to do: about a second."""


class Work(NamedTuple):
    """What is run: makes inputs on a device, and gives the outputs with the gradient in the first of them."""

    inputs: Callable[[torch.device, int], tuple[Tensor, ...]]
    run: Callable[..., tuple[Tensor, ...]]


def with_gradient(compute: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """Outputs and the gradient of their sum in the first input."""

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        leaf = x.detach().requires_grad_()
        outputs = compute(leaf, *rest)
        total = torch.stack([out.float().sum() for out in outputs]).sum()
        return *(out.detach() for out in outputs), *torch.autograd.grad(total, leaf)

    return run


def features(device: torch.device, seed: int) -> tuple[Tensor, ...]:
    return walk(ROWS, FRAMES, WIDTH, seed).float().to(device), torch.arange(ROWS, device=device) // 2


def long_clips(device: torch.device, seed: int) -> tuple[Tensor, ...]:
    return (walk(600, 64, 16, seed).float().to(device),)


def koopman(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
    split, losses = koopman_split_and_loss(x, max_gain=1.0)
    return split.static, split.dynamic, losses.pred


def contrast(x: Tensor, videos: Tensor) -> tuple[Tensor, ...]:
    z = x.mean(1).reshape(2, ROWS // 2, WIDTH)
    half, rows = videos[: ROWS // 2], torch.arange(ROWS // 2, device=x.device)
    ids = {"query_video": half, "key_video": half, "query_clip": rows, "key_clip": rows}
    return (info_nce(z, z, **ids, check_finite=False, backend="triton" if x.is_cuda else "chunked"),)


def training_loss(x: Tensor, videos: Tensor) -> tuple[Tensor, ...]:
    streams = koopman_streams(x, KoopmanConfig(), PredictionConfig())
    assert streams.lower is not None
    return streams.lower, *SimCLR()(ObjectiveInput(streams.embeddings, videos, 2)).values()


LOSS = DecoupledInfoNCE()


def decoupled(x: Tensor, videos: Tensor) -> tuple[Tensor, ...]:
    return tuple(LOSS(x, videos).values())


def pixels(device: torch.device, seed: int) -> tuple[Tensor, ...]:
    clips, params = case(seed=seed)
    return tuple(x.to(device) for x in (clips, params.colour, params.flip, params.sigma))


def augmented(clips: Tensor, colour: Tensor, flip: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
    return (augment_clips(clips, AugmentParams(colour, flip, sigma), 20, MEAN, STD, radius=RADIUS),)


WORKS = {
    "Koopman": Work(features, with_gradient(koopman)),
    "Koopman, long clips": Work(long_clips, with_gradient(koopman)),
    "InfoNCE": Work(features, with_gradient(contrast)),
    "loss of training": Work(features, with_gradient(training_loss)),
    "DecoupledInfoNCE": Work(features, with_gradient(decoupled)),
    "augmentation": Work(pixels, augmented),
}


def assert_same(got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> None:
    """Equal but for the order of sums in matrix products; what was read too early is far off."""
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.cpu(), b.cpu(), rtol=1e-5, atol=1e-6 * float(b.abs().max()))


@pytest.mark.parametrize("name", WORKS)
def test_a_side_stream_waits_for_nothing_else(name):
    """Right results while the default stream is busy, and the host is not kept waiting for it."""
    work, device = WORKS[name], torch.device(DEVICE)
    inputs = work.inputs(device, 0)
    want = work.run(*inputs)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # memory and workspaces belong to a stream, and taking them waits
        work.run(*(x.clone() for x in inputs))
    torch.cuda.synchronize()
    torch.cuda._sleep(BUSY)
    with torch.cuda.stream(side):
        got = work.run(*(x.clone() for x in inputs))
    side.synchronize()
    assert not torch.cuda.default_stream().query(), "the host waited for the default stream"
    assert_same(got, want)
    torch.cuda.synchronize()


@pytest.mark.parametrize("name", WORKS)
def test_work_is_ordered_with_its_stream(name):
    """Inputs that the same stream writes late are read after that."""
    work, device = WORKS[name], torch.device(DEVICE)
    late = work.inputs(device, 1)
    want = work.run(*late)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        inputs = tuple(torch.zeros_like(x) for x in late)
        torch.cuda._sleep(BUSY // 10)
        for x, value in zip(inputs, late, strict=True):
            x.copy_(value)
        got = work.run(*inputs)
    side.synchronize()
    assert_same(got, want)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
@pytest.mark.parametrize("name", WORKS)
def test_a_second_device(name):
    """Tensors on cuda:1 while cuda:0 is the current device."""
    work = WORKS[name]
    want = work.run(*work.inputs(torch.device("cuda:0"), 0))
    with torch.cuda.device(0):
        got = work.run(*work.inputs(torch.device("cuda:1"), 0))
    assert all(x.device.index == 1 for x in got)
    assert_same(got, want)


@pytest.mark.parametrize("name", WORKS)
def test_a_captured_graph_computes_with_new_inputs(name):
    """Capture of forward and backward, and two replays with other numbers in the same buffers."""
    work, device = WORKS[name], torch.device(DEVICE)
    static = tuple(x.clone() for x in work.inputs(device, 0))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work.run(*static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = work.run(*static)
    for seed in (1, 2):
        fresh = work.inputs(device, seed)
        for x, value in zip(static, fresh, strict=True):
            x.copy_(value)
        graph.replay()
        assert_same(tuple(x.clone() for x in outputs), work.run(*fresh))


@pytest.mark.parametrize("name", ["loss of training", "DecoupledInfoNCE"])
def test_the_compiled_loss(name):
    """torch.compile over forward and backward, in one graph."""
    compute, device = (
        {"loss of training": training_loss, "DecoupledInfoNCE": decoupled}[name],
        torch.device(DEVICE),
    )
    x, videos = features(device, 0)
    want = with_gradient(compute)(x, videos)
    torch._dynamo.reset()
    got = with_gradient(torch.compile(compute, fullgraph=True))(x, videos)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_under_autocast(dtype):
    x, videos = features(torch.device(DEVICE), 0)
    want = with_gradient(decoupled)(x, videos)
    with torch.autocast("cuda", dtype):
        got = with_gradient(decoupled)(x, videos)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_the_matrix_is_never_written():
    """InfoNCE at N = K = 16,384 takes less than a twentieth of what eager PyTorch takes."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 16384, 128, generator=g).to(DEVICE).requires_grad_()
    videos = torch.arange(16384, device=DEVICE) // 2

    def peak(backend: str) -> int:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss = info_nce(x, x, query_video=videos, key_video=videos, check_finite=False, backend=backend)
        torch.autograd.grad(loss.sum(), x)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    assert 20 * peak("triton") <= peak("torch")
