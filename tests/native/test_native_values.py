"""Native operators on the CPU, against the PyTorch route, brute force and finite differences."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
import torch
from native_koopman import Native, Settings, backward, cotangents, forward, reference, walk, worst

from bodvcl.ops import native as _native
from bodvcl.ops.koopman.reference import koopman as literal

pytestmark = pytest.mark.skipif(not _native.cpu_available(), reason=_native.why_not("cpu") or "available")

VARIANTS = [
    Settings(mask=mask, weights=weights, pool=pool, **estimate)
    for mask, weights, pool, estimate in itertools.product(
        (0, 1),
        (0, 1),
        (0, 1, 2),
        ({}, {"ridge": 0.02}, {"rtol": 0.2}, {"rank": 2}, {"ridge": 0.05, "rank": 2}),
    )
]


def ids(settings: Settings) -> str:
    estimate = f"ridge{settings.ridge}-rank{settings.rank}-rtol{settings.rtol}"
    return f"mask{settings.mask}-weights{settings.weights}-pool{settings.pool}-{estimate}"


def assert_matches(x, settings, frame_mask=None, tolerance=1e-9):
    leaf = x.clone().requires_grad_()
    want = reference(leaf, settings, frame_mask)
    got = forward(x, settings, frame_mask)
    assert worst(got[0], want.static, floor=1e-3) < tolerance
    assert worst(got[1], want.dynamic, floor=1e-3) < tolerance
    for k in range(4):
        assert worst(got[2][:, k : k + 1], want.losses[:, k : k + 1]) < tolerance, k
    torch.testing.assert_close(got[3][:, 1], want.stats[:, 1], rtol=0, atol=0)
    torch.testing.assert_close(got[3][:, 0], want.stats[:, 0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got[3][:, 3:], want.stats[:, 3:])
    split = cotangents(got)
    total = (want.static * split[0]).sum() + (want.dynamic * split[1]).sum()
    (expected,) = torch.autograd.grad(total, leaf, retain_graph=True)
    zero = tuple(torch.zeros_like(g) for g in split)
    assert worst(backward((*split[:2], zero[2]), x, got[5], settings, frame_mask)[0], expected) < tolerance
    for k in range(4):
        one = torch.zeros_like(split[2])
        one[:, k] = split[2][:, k]
        (expected,) = torch.autograd.grad((want.losses * one).sum(), leaf, retain_graph=True)
        actual = backward((*zero[:2], one), x, got[5], settings, frame_mask)[0]
        assert worst(actual, expected, floor=1e-8) < tolerance, k


@pytest.mark.parametrize("settings", VARIANTS, ids=ids)
@pytest.mark.parametrize("masked", [False, True])
def test_matches_pytorch_route(settings, masked):
    x = walk(11, 8, 24)
    mask = torch.rand(11, 8, generator=torch.Generator().manual_seed(3)) > 0.2 if masked else None
    assert_matches(x, settings, mask)


@pytest.mark.parametrize("settings", VARIANTS, ids=ids)
def test_matches_the_paper(settings):
    """Pseudo-inverse, eigen-decomposition of K and inverse of the eigenvectors, literally."""
    x = walk(5, 8, 16)
    got, want = forward(x, settings), literal(x, None, settings.spec())
    assert worst(got[0], want.static, floor=1e-3) < 1e-8
    assert worst(got[1], want.dynamic, floor=1e-3) < 1e-8
    torch.testing.assert_close(got[2], want.losses, rtol=1e-8, atol=1e-9)


SHAPES = [*itertools.product((3, 4, 8, 9, 16, 17, 32, 33, 64), (4, 37, 128)), (8, 1024), (17, 1023)]
SHAPES.append(pytest.param(64, 1024, marks=pytest.mark.slow))


@pytest.mark.parametrize(("frames", "width"), SHAPES)
def test_every_shape(frames, width):
    settings = Settings(ridge=0.01) if width < frames - 1 else Settings()
    assert_matches(walk(3, frames, width), settings, tolerance=1e-8)


@pytest.mark.parametrize(("frames", "width"), [(12, 5), (32, 16), (64, 8)])
def test_fewer_features_than_pairs(frames, width):
    """Truncation takes care of a singular Gram matrix."""
    assert_matches(walk(4, frames, width), Settings(mask=1), tolerance=1e-7)


def mixed_clips() -> torch.Tensor:
    """Clips whose directions are all kept, beside clips that lose some, have none, or hardly move."""
    x = walk(12, 8, 20)
    x[1] = x[1, :1]  # identical frames
    x[2] = 0
    x[3, 5:] = x[3, 4]  # ends in a still
    x[4] = x[4, :1] + 1e-9 * (x[4] - x[4, :1])
    x[5, :, 3:] = 0  # fewer features than pairs
    x[6] *= 1e60
    x[7] *= 1e-60
    return x


@pytest.mark.parametrize(
    "settings", [Settings(rtol=1e-4), Settings(mask=1, rtol=1e-4), Settings(mask=1, ridge=0.01)]
)
def test_clips_of_every_rank_side_by_side(settings):
    """The Cholesky factor serves some, the eigenvectors the others; none depends on its neighbours."""
    x = mixed_clips()
    together = forward(x, settings)
    for i in range(len(x)):
        for whole, single in zip(together, forward(x[i : i + 1], settings)):
            assert torch.equal(whole[i], single[0])
    kept = [0, 3, 5, 8, 9, 10, 11]  # the others have directions at the rounding of float64
    # An input moved by rounding changes the gradient of clip 3's forecast by 1e-7 or more on every route.
    assert_matches(x[kept], settings, tolerance=1e-6)


@pytest.mark.parametrize("ridge", [1e-13, 0.99e-10, 1.01e-10, 1e-6, 10.0])
def test_ridges_of_every_size(ridge):
    """From 1e-10 on nothing is dropped and no eigenvector is computed; below, both are possible."""
    assert_matches(walk(5, 8, 20), Settings(mask=1, ridge=ridge), tolerance=1e-8)


@pytest.mark.parametrize("settings", [Settings(), Settings(mask=1, weights=1, ridge=0.02)], ids=ids)
def test_gradcheck(settings):
    x = walk(2, 5, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: Native.apply(y, settings, None), (x,), atol=1e-6)


@pytest.mark.parametrize("truncated", [False, True])
def test_held_out_losses_are_brute_force(truncated):
    """Leave-one-out and forecast, by fitting without the pair and predicting it."""
    x = walk(3, 9, 5 if truncated else 12)
    losses = forward(x, Settings(rtol=1e-7))[2]
    for clip, got in zip(x, losses):
        past, future = clip[:-1].T, clip[1:].T
        errors = []
        for pair in range(8):
            rest = [i for i in range(8) if i != pair]
            k = future[:, rest] @ torch.linalg.pinv(past[:, rest], rtol=1e-7)
            errors.append((future[:, pair] - k @ past[:, pair]).square().sum())
        width = clip.shape[1]
        torch.testing.assert_close(got[2], torch.stack(errors).sum() / (width * 8), rtol=1e-7, atol=0)
        torch.testing.assert_close(got[3], errors[-1] / width, rtol=1e-7, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("pool", [0, 1, 2])
def test_low_precision_is_rounding_of_the_exact_result(dtype, pool):
    """The input is exact in float64, the algebra is float64: only the output is rounded."""
    x = walk(5, 8, 33, dtype=dtype)
    settings = Settings(pool=pool, ridge=0.01)
    got, exact = forward(x, settings), forward(x.double(), settings)
    for a, b in zip(got[:2], exact[:2]):
        assert a.dtype == dtype
        torch.testing.assert_close(a, b.to(dtype), rtol=torch.finfo(dtype).eps, atol=0)
    torch.testing.assert_close(got[2], exact[2], rtol=1e-12, atol=1e-12)
    grads = cotangents(got)
    low, gain = backward(grads, x, got[5], settings)
    wide = tuple(g.double() for g in grads)
    high, wide_gain = backward(wide, x.double(), exact[5], settings)
    torch.testing.assert_close(low, high.to(dtype), rtol=torch.finfo(dtype).eps, atol=0)
    torch.testing.assert_close(gain, wide_gain)


@pytest.mark.parametrize("bits", range(0, 65536, 4096))
def test_every_half_survives_conversion(bits):
    """A static clip gives back its frame: every float16 and bfloat16 pattern, finite ones exactly."""
    pattern = torch.arange(bits, bits + 4096, dtype=torch.int32).to(torch.uint16)
    for dtype in (torch.float16, torch.bfloat16):
        row = pattern.view(dtype).reshape(4, 1, 1024)
        row = torch.where(row.isfinite() & (row.abs() > 0), row, torch.ones_like(row))
        if dtype is torch.bfloat16:
            row = torch.where(row.abs() < 1e30, row, torch.ones_like(row))
        static = forward(row.expand(4, 3, 1024).contiguous(), Settings(rtol=1e-3))[0]
        torch.testing.assert_close(static, row[:, 0], rtol=torch.finfo(dtype).eps, atol=0)


def test_zero_clip_gives_zeros():
    x = walk(3, 8, 16)
    x[1] = 0
    for settings in (Settings(), Settings(ridge=0.1), Settings(mask=1, weights=1)):
        out = forward(x, settings)
        assert out[3][1, 1] == 0
        for value in (*out[:3], out[4]):
            assert (value[1] == 0).all()
        grads = cotangents(out)
        if settings.weights == 0:
            assert (backward(grads, x, out[5], settings)[0][1] == 0).all()
        assert backward(grads, x, out[5], settings)[0].isfinite().all()


def test_identical_frames_are_static():
    x = walk(2, 1, 16).expand(2, 8, 16).contiguous()
    for settings in (Settings(xi=0.1), Settings(xi=1.0), Settings(weights=1)):
        static, dynamic, losses, stats, _, saved = out = forward(x, settings)
        torch.testing.assert_close(static, x[:, 0])
        assert dynamic.abs().max() < 1e-12
        assert stats[:, :2].eq(1).all()
        assert losses.isfinite().all()
        assert backward(cotangents(out), x, saved, settings)[0].isfinite().all()


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_nan_stays_in_its_clip(poison, dtype):
    clean = walk(9, 8, 16, dtype=dtype)
    bad = clean.clone()
    bad[4, 2, 3] = poison
    settings = Settings(mask=1)
    good, out = forward(clean, settings), forward(bad, settings)
    others = torch.arange(9) != 4
    for a, b in zip(out[:5], good[:5]):
        assert torch.equal(a[others], b[others])
    for value in (*out[:3], out[3][:, :4], out[4]):
        assert value[4].isnan().all()
    assert out[3][:, 4].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    grads = cotangents(good)
    grad, gain = backward(grads, bad, out[5], settings)
    want, _ = backward(grads, clean, good[5], settings)
    assert torch.equal(grad[others], want[others])
    assert grad[4].isnan().all()
    assert gain[4].isnan()


def test_nan_in_an_invalid_frame_is_inert():
    x = walk(3, 8, 16)
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[:, 6:] = False
    bad = x.clone()
    bad[:, 6:] = float("nan")
    for pool in (0, 1, 2):
        settings = Settings(pool=pool)
        short, got = forward(x[:, :6].contiguous(), settings), forward(bad, settings, mask)
        keep = slice(None) if pool != 1 else (slice(None), slice(0, 6))
        torch.testing.assert_close(got[0][keep], short[0])
        torch.testing.assert_close(got[2], short[2])
        grads = cotangents(got)
        grad, _ = backward(grads, bad, got[5], settings, mask)
        assert grad.isfinite().all()
        assert (grad[:, 6:] == 0).all()


def test_no_valid_pair_gives_no_operator():
    x = walk(2, 4, 8)
    mask = torch.tensor([[True, False, True, False]] * 2)
    out = forward(x, Settings(ridge=0.1), mask)
    assert (out[0] == 0).all()
    assert (out[2] == 0).all()
    assert (out[3][:, 1] == 0).all()
    assert (backward(cotangents(out), x, out[5], Settings(ridge=0.1), mask)[0] == 0).all()


def test_no_clips():
    for pool in (0, 1, 2):
        out = forward(torch.empty(0, 8, 16), Settings(pool=pool))
        assert out[0].shape == ((0, 16) if pool != 1 else (0, 8, 16))
        assert out[2].shape == (0, 4)
        grad, gain = backward(tuple(out[:3]), torch.empty(0, 8, 16), out[5], Settings(pool=pool))
        assert grad.shape == (0, 8, 16)
        assert gain.shape == (0,)


def test_eigenvalue_on_the_circle_is_nudged():
    """A real eigenvalue at 1 - xi: the radius that was used is reported, and the gradient is finite."""
    rates = torch.tensor([1.0, 0.7, 0.2], dtype=torch.float64)
    basis = torch.linalg.qr(walk(1, 8, 8)[0])[0][:, :3]
    x = (rates ** torch.arange(4.0, dtype=torch.float64)[:, None] @ basis.T)[None].contiguous()
    settings = Settings(xi=0.3)
    out = forward(x, settings)
    assert out[3][0, 2] < 1e-8
    assert 0 < abs(out[3][0, 3] / 0.3 - 1) < 0.06 or out[3][0, 0] in (1, 2)
    assert backward(cotangents(out), x, out[5], settings)[0].isfinite().all()


def test_max_gain_bounds_the_split_only():
    x = walk(6, 8, 16)
    settings = Settings(xi=0.1)
    out = forward(x, settings)
    grads = cotangents(out)
    zero = torch.zeros_like
    plain, gain = backward((*grads[:2], zero(grads[2])), x, out[5], settings)
    cotangent = torch.stack([grads[0], grads[1]]).square().sum((0, 2)).sqrt()
    torch.testing.assert_close(gain, 8**0.5 * plain.flatten(1).norm(dim=1) / cotangent)
    limit = float(gain.median())
    bounded, same = backward((*grads[:2], zero(grads[2])), x, out[5], settings, max_gain=limit)
    torch.testing.assert_close(same, gain)
    torch.testing.assert_close(bounded, plain * (limit / gain).clamp_max(1)[:, None, None])
    losses = (zero(grads[0]), zero(grads[1]), grads[2])
    unguarded = backward(losses, x, out[5], settings)[0]
    torch.testing.assert_close(backward(losses, x, out[5], settings, max_gain=1e-3)[0], unguarded)
    both = backward(grads, x, out[5], settings, max_gain=limit)[0]
    torch.testing.assert_close(both, bounded + unguarded)


def test_bitwise_deterministic_over_threads_and_batch():
    """Same bits for any number of threads, any order and any company."""
    x = walk(37, 8, 40, dtype=torch.float32)
    settings = Settings(xi=0.1)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out = forward(x, settings)
            results.append((*out, *backward(cotangents(out), x, out[5], settings)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))
    order = torch.randperm(37, generator=torch.Generator().manual_seed(0))
    shuffled = forward(x[order].contiguous(), settings)
    grads = tuple(g[order].contiguous() for g in cotangents(shuffled[:0] + tuple(results[0][:3])))
    shuffled_grad = backward(grads, x[order].contiguous(), shuffled[5], settings)
    assert all(torch.equal(a[order], b) for a, b in zip(results[0], (*shuffled, *shuffled_grad)))
    alone = forward(x[5:6].contiguous(), settings)
    assert all(torch.equal(a[5:6], b) for a, b in zip(results[0], alone))


def test_saved_is_smaller_than_the_input():
    x = walk(4, 8, 128, dtype=torch.float32)
    for mask in (0, 1):
        saved = forward(x, Settings(mask=mask))[5]
        assert saved.nbytes < x.nbytes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 8)}, r"must be \(clips, frames, width\)"),
        ({"x": torch.zeros(2, 2, 8)}, "3 to 64 frames, got 2"),
        ({"x": torch.zeros(2, 65, 8)}, "3 to 64 frames, got 65"),
        ({"x": torch.zeros(2, 8, 3)}, "width of 4 to 1024, got 3"),
        ({"x": torch.zeros(8, 3, 16).transpose(0, 1)}, "contiguous"),
        ({"x": torch.zeros(2, 8, 16, dtype=torch.int32)}, "float64, float32, float16 or bfloat16"),
        ({"settings": Settings(xi=0.0)}, "0 < xi <= 1"),
        ({"settings": Settings(ridge=-1.0)}, "ridge must not be negative"),
        ({"settings": Settings(rank=8)}, "rank must be 0 to 7"),
        ({"mask": torch.ones(2, 7, dtype=torch.bool)}, "frame_mask must be"),
    ],
)
def test_bad_arguments_are_named(change, message):
    x = change.get("x", torch.zeros(2, 8, 16))
    with pytest.raises(RuntimeError, match=message):
        forward(x, change.get("settings", Settings()), change.get("mask"))


def test_backward_refuses_foreign_tensors():
    x = walk(2, 8, 16)
    out = forward(x, Settings())
    a, b, c = cotangents(out)
    with pytest.raises(RuntimeError, match="saved is not what koopman_forward returned"):
        backward((a, b, c), x, out[5][:1], Settings())
    with pytest.raises(RuntimeError, match="of features' dtype"):
        backward((a.float(), b, c), x, out[5], Settings())


def isa_results() -> list[torch.Tensor]:
    results = []
    for dtype, settings in ((torch.float64, Settings()), (torch.bfloat16, Settings(mask=1, pool=1))):
        x = walk(11, 9, 37, dtype=dtype)
        out = forward(x, settings)
        results += [*out[:4], *backward(cotangents(out), x, out[5], settings)]
    return results


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "neon"])
def test_every_instruction_set_agrees(isa, tmp_path):
    """The choice is made once in a process, so that another one computes the same with another kernel."""
    file = tmp_path / "results.pt"
    script = "import sys, torch, test_native_values as t; torch.save(t.isa_results(), sys.argv[1])"
    env = {**os.environ, "BODVCL_CPU_ISA": isa, "PYTHONPATH": os.path.dirname(__file__)}
    done = subprocess.run([sys.executable, "-c", script, file], env=env, capture_output=True, text=True)
    if "not supported by this processor" in done.stderr:
        pytest.skip(f"{isa} is not built, or not supported by this processor")
    assert done.returncode == 0, done.stderr
    for a, b in zip(torch.load(file), isa_results()):
        tolerance = 1e-9 if a.dtype == torch.float64 else 2 * torch.finfo(a.dtype).eps
        torch.testing.assert_close(a, b, rtol=tolerance, atol=1e-9)
