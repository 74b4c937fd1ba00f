"""Scenes exchanged between clips: the equation, what a share of 0 and of 1 means, and what is refused."""

from __future__ import annotations

import pytest
import torch

from bodvcl.ops import BackendError, MixParams, mix_scenes
from bodvcl.ops.augment.median import median_over_time

BACKENDS = ["torch", "reference"]


def case(count: int = 5, length: int = 4, size: int = 6, dtype=torch.float32, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    clips = torch.randn(count, 3, length, size, size, generator=g, dtype=torch.float64)
    params = MixParams(
        donor=torch.randint(0, count, (count,), generator=g),
        share=torch.rand(count, generator=g),
    )
    return clips.to(dtype).contiguous(memory_format=torch.channels_last_3d), params


def plain(count: int, **changes) -> MixParams:
    """Parameters that change nothing."""
    whole = torch.zeros(count, dtype=torch.int64)
    return MixParams(whole, torch.zeros(count))._replace(**changes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(5, 4, 6), (1, 1, 1), (3, 16, 9)])
@pytest.mark.parametrize("inplace", [False, True])
def test_equals_the_reference(dtype, shape, inplace):
    clips, params = case(*shape, dtype=dtype)
    before = clips.clone()
    exact = mix_scenes(clips.double(), params, backend="reference")
    out = mix_scenes(clips, params, inplace=inplace)
    assert out.dtype == dtype
    assert (out.double() - exact).abs().max() <= 4 * torch.finfo(dtype).eps * exact.abs().max()
    assert (out is clips) == inplace
    if not inplace:
        assert torch.equal(clips, before)


@pytest.mark.parametrize("memory_format", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(5, 4, 6), (1, 1, 1), (3, 15, 9)])
def test_another_dtype_is_the_result_rounded(shape, dtype, memory_format):
    clips, params = case(*shape)
    clips = clips.contiguous(memory_format=memory_format)
    before = clips.clone()
    out = mix_scenes(clips, params, dtype=dtype)
    assert out.is_contiguous(memory_format=memory_format)
    assert torch.equal(out, mix_scenes(clips, params).to(dtype))
    exact = mix_scenes(clips.double(), params, backend="reference")
    assert torch.equal(mix_scenes(clips.double(), params, dtype=dtype, backend="reference"), exact.to(dtype))
    assert torch.equal(clips, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_share_changes_nothing(backend):
    clips, _ = case()
    torch.testing.assert_close(mix_scenes(clips, plain(5), backend=backend), clips)


def passing(count: int, length: int, size: int) -> torch.Tensor:
    """A bright column that moves on by one pixel a frame, so that it is at no pixel twice."""
    motion = torch.zeros(count, 3, length, size, size)
    for t in range(length):
        motion[:, :, t, :, t] = 5.0
    return motion


@pytest.mark.parametrize("length", [3, 6])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_whole_share_leaves_nothing_of_a_still_scene_and_all_that_moves(backend, length):
    scene = torch.randn(4, 3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    motion = passing(4, length, 8)
    donor = torch.tensor([1, 2, 3, 0])
    params = plain(4, donor=donor, share=torch.ones(4))
    out = mix_scenes(scene + motion, params, backend=backend)
    torch.testing.assert_close(out, scene[donor] + motion, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_moves_before_one_scene_for_all_is_left_as_it_is(backend):
    """Where the scene gives nothing away, the mix takes nothing away, and leaves no trail of another clip."""
    clips = 0.5 + passing(4, 6, 8).roll(2, -1) * torch.rand(4, 3, 1, 1, 1)
    params = plain(4, donor=torch.tensor([1, 2, 3, 0]), share=torch.rand(4))
    torch.testing.assert_close(mix_scenes(clips, params, backend=backend), clips)


@pytest.mark.parametrize("length", [*range(1, 20), 32, 64])
def test_the_median_is_the_lower_one_of_pytorch(length):
    clips = torch.randint(0, 9, (2, 3, length, 5, 4), generator=torch.Generator().manual_seed(length))
    assert torch.equal(median_over_time(clips), clips.median(2).values)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_clip_takes_the_scene_that_its_donor_had_before(backend):
    """In place, no clip may see what another one has become."""
    clips, params = case()
    chain = params._replace(donor=torch.tensor([1, 2, 3, 4, 0]))
    want = mix_scenes(clips, chain, backend=backend)
    assert torch.equal(mix_scenes(clips.clone(), chain, inplace=True, backend=backend), want)


@pytest.mark.parametrize("memory_format", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_formats_are_kept(memory_format, backend):
    clips, params = case(length=3)
    want = mix_scenes(clips, params, backend=backend)
    out = mix_scenes(clips.contiguous(memory_format=memory_format), params, backend=backend)
    assert out.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(out, want)


def test_an_empty_batch_keeps_its_shape():
    clips = torch.zeros(0, 3, 4, 8, 8)
    assert mix_scenes(clips, plain(0)).shape == clips.shape


@pytest.mark.parametrize(
    ("error", "message", "changes"),
    [
        (ValueError, r"share is \(4,\); expected \(5,\) for 5 clips", {"share": torch.zeros(4)}),
        (ValueError, r"donor is \(5, 1\); expected \(5,\)", {"donor": torch.zeros(5, 1).long()}),
        (TypeError, r"donor is torch.int32; expected torch.int64", {"donor": torch.zeros(5).int()}),
        (TypeError, r"share is torch.int64; expected a floating", {"share": torch.zeros(5).long()}),
        (ValueError, "share requires a gradient", {"share": torch.zeros(5, requires_grad=True)}),
        (ValueError, "donor is on meta", {"donor": torch.zeros(5, dtype=torch.int64, device="meta")}),
    ],
)
def test_parameters_that_do_not_fit_are_refused(error, message, changes):
    clips, _ = case()
    with pytest.raises(error, match=message):
        mix_scenes(clips, plain(5, **changes))


def test_clips_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match=r"clips is torch.uint8; expected a floating-point type"):
        mix_scenes(torch.zeros(5, 3, 2, 4, 4, dtype=torch.uint8), plain(5))
    with pytest.raises(ValueError, match=r"expected \(N, 3, L, S, S\)"):
        mix_scenes(torch.zeros(5, 2, 3, 4, 4), plain(5))
    with pytest.raises(ValueError, match="clips requires a gradient"):
        mix_scenes(torch.zeros(5, 3, 2, 4, 4, requires_grad=True), plain(5))
    with pytest.raises(TypeError, match=r"dtype is torch.int32; expected a floating-point type"):
        mix_scenes(torch.zeros(5, 3, 2, 4, 4), plain(5), dtype=torch.int32)
    with pytest.raises(ValueError, match=r"dtype is torch.bfloat16; expected torch.float32, that of the cl"):
        mix_scenes(torch.zeros(5, 3, 2, 4, 4), plain(5), dtype=torch.bfloat16, inplace=True)
    with pytest.raises(IndexError):
        mix_scenes(torch.zeros(5, 3, 2, 4, 4), plain(5, donor=torch.full((5,), 5)))
    with pytest.raises(BackendError, match="triton"):
        mix_scenes(torch.zeros(5, 3, 2, 4, 4, dtype=torch.float64), plain(5), backend="triton")
