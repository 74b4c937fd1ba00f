"""The CUDA Koopman kernels on every route: number of frames, clips, masks, dtypes, alignment, workspace.

The judge is the native CPU operator on the same numbers in float64, which other tests hold to the paper's
formulas. The kernels compute in float64 whatever the dtype: only the rounding of what they write is left.
"""

from __future__ import annotations

import pytest
import torch
from koopman_cases import walk
from torch import Tensor

from bodvcl.ops import native
from bodvcl.ops.koopman import koopman_split_and_loss

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not native.cuda_available() or not native.cpu_available(),
        reason=native.why_not("cuda") or native.why_not("cpu") or "native",
    ),
]

EVERY_ROUTE = (3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 20, 22, 24, 28, 32, 36, 40, 48, 56, 64)
"""A warp or a block for each clip, shared memory by request, the workspace; 8 and 16 have their own."""
SETTINGS = {
    "smooth, ridge": {"mask": "smooth", "ridge": 0.01},
    "hard, ridge": {"mask": "hard", "ridge": 0.01},
    "smooth, truncated": {"mask": "smooth", "ridge": 0.0},
    "hard, truncated": {"mask": "hard", "ridge": 0.0},
}
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def results(
    x: Tensor, frame_mask: Tensor | None = None, picked: slice = slice(None), **options
) -> list[Tensor]:
    """Streams, losses, and gradients of a combination of the streams and of each loss, float64 on the CPU.

    Args:
        x: clips.
        frame_mask: frames that count.
        picked: of the clips that x was taken from, those that x holds.
        options: of `koopman_split_and_loss`.
    """
    x = x.detach().requires_grad_()
    split, losses = koopman_split_and_loss(
        x, mode="train", frame_mask=frame_mask, backend=x.device.type, **options
    )
    g = torch.Generator().manual_seed(2)
    weights = []
    for stream in (split.static, split.dynamic):
        every = torch.randn(1024, *stream.shape[1:], generator=g, dtype=torch.float64)
        weights.append(every[picked][: len(x)].to(stream))
    out = [split.static, split.dynamic, losses.each]
    out.append(torch.autograd.grad((split.static, split.dynamic), x, weights, retain_graph=True)[0])
    size = x[0].numel() if len(x) else 1  # or float16 would hold the gradient of a mean in its last bits
    for k in range(4):
        out.append(torch.autograd.grad(size * losses.each[..., k].sum(), x, retain_graph=True)[0])
    return [one.detach().double().cpu() for one in out]


def assert_equal(x: Tensor, frame_mask: Tensor | None = None, picked: slice = slice(None), **options) -> None:
    """Clip by clip, against the CPU in float64."""
    got = results(x, frame_mask, **options)
    mask = None if frame_mask is None else frame_mask.cpu()[picked]
    want = results(x.detach().cpu().double()[picked], mask, picked, **options)
    allowed = ROUNDING[x.dtype]
    for k, (a, b) in enumerate(zip(got, want)):
        a, b = a[picked].flatten(1), b.flatten(1)
        off = (a - b).norm(dim=1) / b.norm(dim=1).clamp_min(1e-3 * float(b.norm(dim=1).max()) + 1e-12)
        assert off.max() <= allowed, f"result {k}: {off.max():.1e} in clip {int(off.argmax())}"


def clips(b: int, t: int, m: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return walk(b, t, m, seed=t).to(dtype).to(DEVICE)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("t", EVERY_ROUTE)
def test_every_number_of_frames(t, settings):
    assert_equal(clips(5, t, 70), **SETTINGS[settings])


@pytest.mark.parametrize("settings", ["smooth, ridge", "hard, truncated"])
@pytest.mark.parametrize("t", [8, 13, 16, 24, 32, 64])
@pytest.mark.parametrize("b", [1, 129, 1000])
def test_every_number_of_clips(b, t, settings):
    """Beyond two clips for each multiprocessor, the blocks of long clips go over the workspace again."""
    some = slice(None, None, max(1, b // 40))
    assert_equal(clips(b, t, 80), picked=some, **SETTINGS[settings])


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("m", [4, 33, 128, 1024])
@pytest.mark.parametrize("t", [8, 16, 33])
def test_every_width_and_dtype(t, m, dtype):
    assert_equal(clips(3, t, m, dtype), mask="smooth", ridge=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("t", [8, 16])
def test_clips_that_are_not_aligned(t, dtype):
    """Features that begin in the middle of 16 bytes are read number by number."""
    flat = torch.empty(3 * t * 128 + 1, dtype=dtype, device=DEVICE)
    x = flat[1:].view(3, t, 128).copy_(clips(3, t, 128, dtype))
    assert x.data_ptr() % 16
    assert_equal(x, mask="smooth", ridge=0.01)


@pytest.mark.parametrize(
    "options",
    [
        {"pool": "none"},
        {"pool": "std"},
        {"weights": "projector"},
        {"weights": "projector", "mask": "hard"},
        {"rank": 2},
        {"rank": 3, "mask": "hard", "ridge": 0.0},
        {"max_gain": 0.5},
        {"max_gain": 0.5, "mask": "hard"},
        {"smooth_power": 256},
        {"smooth_power": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("t", [8, 16, 24])
def test_every_option(t, options):
    assert_equal(clips(6, t, 48), **options)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("t", [8, 16, 24])
def test_frames_that_do_not_count(t, settings):
    mask = torch.rand(9, t, generator=torch.Generator().manual_seed(3)) > 0.2
    mask[0] = False
    x = clips(9, t, 48).masked_fill(~mask.to(DEVICE)[..., None], float("nan"))
    got = results(x, mask.to(DEVICE), **SETTINGS[settings])
    want = results(x.cpu().double(), mask, **SETTINGS[settings])
    for a, b in zip(got, want):
        assert torch.equal(a.isnan(), b.isnan())
        torch.testing.assert_close(
            a.nan_to_num(), b.nan_to_num(), rtol=1e-4, atol=1e-6 * float(b.nan_to_num().abs().max())
        )


@pytest.mark.parametrize("t", [8, 16, 40])
def test_clips_of_every_rank(t):
    """Still clips, zeros, clips that stop, and clips of few features beside ordinary ones."""
    x = walk(8, t, 64)
    x[1] = x[1, :1]
    x[2] = 0
    x[3, t // 2 :] = x[3, t // 2]
    x[5, :, 3:] = 0
    x = x.float().to(DEVICE)
    for settings in ("smooth, ridge", "hard, ridge"):
        assert_equal(x, **SETTINGS[settings])
    got = results(x, **SETTINGS["hard, truncated"])
    assert all(one.isfinite().all() for one in got)


@pytest.mark.parametrize("t", [8, 16, 40])
def test_two_calls_are_equal_bit_for_bit(t):
    x = clips(300, t, 64)
    for one, two in zip(results(x, mask="hard", ridge=0.0), results(x, mask="hard", ridge=0.0)):
        assert torch.equal(one, two)


@pytest.mark.parametrize("t", [8, 16, 40])
def test_a_nan_stays_in_its_clip(t):
    x = clips(300, t, 64)
    clean = results(x)
    x[7, 2, 3] = float("nan")
    others = torch.arange(300) != 7
    for one, two in zip(results(x), clean):
        assert one[7].isnan().any()
        assert torch.equal(one[others], two[others])


@pytest.mark.parametrize("t", [8, 40])
def test_no_clips(t):
    assert all(one.numel() == 0 for one in results(clips(0, t, 16)))


def test_the_workspace_does_not_grow_with_the_clips():
    """What forward and backward over long clips allocate beyond their results and what they keep."""

    def beyond(b: int) -> tuple[int, int]:
        x = clips(b, 64, 16).requires_grad_()
        found = []
        torch.cuda.reset_peak_memory_stats()
        split, _ = koopman_split_and_loss(x, backend="cuda")
        torch.cuda.synchronize()
        found.append(torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated())
        weights = torch.ones_like(split.static)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kept = torch.autograd.grad((split.static, split.dynamic), x, (weights, weights))
        torch.cuda.synchronize()
        found.append(torch.cuda.max_memory_allocated() - before - 2 * kept[0].numel() * 4)
        return found[0], found[1]

    many = 4 * torch.cuda.get_device_properties(0).multi_processor_count
    for more, fewer in zip(beyond(2 * many), beyond(many)):
        assert more <= fewer + 2**20
