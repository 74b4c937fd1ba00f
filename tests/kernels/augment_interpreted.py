"""The augmentation kernel on CPU tensors, against the operations of torchvision one after the other.

``python -m pytest augment_interpreted.py`` collects the cases; the interpreter must be chosen before Triton
is imported, so they live in a process of their own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "ops"))

import pytest
import torch
from augment_cases import MEAN, RADIUS, STD, assert_close, case, eager
from test_mix_scenes import case as mix_case

from bodvcl.ops.augment import augment_clips, mix_scenes


@pytest.fixture(autouse=True)
def poisoned_memory():
    """Output elements that the kernel did not write are NaN."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


def run(clips, params, size, backend="triton", **options):
    return augment_clips(
        clips, params, size, MEAN, STD, **({"radius": RADIUS} | options), backend=backend
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 5, 53, 70])
def test_equals_one_operation_after_the_other(size):
    clips, params = case(size=size, length=1)
    exact = eager(clips, params, size, torch.float64)
    assert_close(run(clips, params, size), exact, eager(clips, params, size, torch.float32))


@pytest.mark.parametrize(("size", "blur"), [(8, True), (20, False), (30, True)])
def test_resizes_boxes(size, blur):
    clips, params = case(blur=blur, box=True, length=1)
    exact = eager(clips, params, size, torch.float64)
    assert_close(run(clips, params, size), exact, eager(clips, params, size, torch.float32))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_results(dtype):
    clips, params = case()
    exact = eager(clips, params, 20, torch.float64)
    out = run(clips, params, 20, dtype=dtype)
    assert out.dtype == dtype
    assert ((out.double() - exact).abs() <= torch.finfo(dtype).eps * (exact.abs() + 2e-3)).all()


def is_narrowed(out, whole):
    """Whether ``out`` is ``whole`` rounded. The interpreter cuts bfloat16 off, where a GPU rounds it."""
    cut = (whole.view(torch.int32) & -(2**16)).view(torch.float32)
    return torch.equal(out, whole.to(out.dtype)) or torch.equal(out.float(), cut)


@pytest.mark.parametrize("memory_format", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("size", "box"), [(1, False), (20, True), (53, False)])
def test_a_narrow_result_is_the_float32_one_rounded(size, box, dtype, memory_format):
    """Bit for bit without a blur. Tiles have other sizes, in which NumPy adds up a blur in another order."""
    clips, params = case(size=size, box=box, length=1)
    out = run(clips, params, size, dtype=dtype, memory_format=memory_format)
    assert out.is_contiguous(memory_format=memory_format)
    whole = run(clips, params, size)
    still = params.sigma == 0
    assert is_narrowed(out[still], whole[still])
    assert ((out - whole).abs() <= torch.finfo(dtype).eps * whole.abs() + 1e-6).all()
    unblurred = run(clips, params, size, dtype=dtype, radius=0)
    assert is_narrowed(unblurred, run(clips, params, size, radius=0))


@pytest.mark.parametrize("radius", [0, 1, 24])
def test_any_radius(radius):
    clips, params = case(size=40, length=1)
    got, want = (run(clips, params, 40, backend, radius=radius) for backend in ("triton", "reference"))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_no_blur_in_the_call_reads_no_sigma():
    clips, params = case(size=40, length=1)
    still = params._replace(sigma=torch.zeros(5))
    assert torch.equal(run(clips, params, 40, radius=0), run(clips, still, 40))


def test_memory_formats_canvases_and_empty_batches():
    clips, params = case(count=2, box=True)
    last = run(clips, params, 20)
    first = run(clips, params, 20, memory_format=torch.contiguous_format)
    assert last.is_contiguous(memory_format=torch.channels_last_3d)
    assert first.is_contiguous()
    assert torch.equal(first, last)
    canvas = torch.full((2, 4, 30, 36, 3), 255, dtype=torch.uint8)
    canvas[:, 1:3, :20, :26] = clips
    assert torch.equal(run(canvas[:, 1:3], params, 20), last)
    assert torch.equal(run(clips.transpose(2, 3).contiguous().transpose(2, 3), params, 20), last)
    none = params._replace(**{name: x[:0] for name, x in params._asdict().items()})
    assert run(clips[:0], none, 20).shape == (0, 3, 2, 20, 20)


@pytest.mark.parametrize("memory_format", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 4, 6), (2, 1, 1), (2, 3, 29)])
@pytest.mark.parametrize("inplace", [False, True])
def test_mixes_scenes(shape, dtype, memory_format, inplace):
    clips, params = mix_case(*shape, dtype=dtype)
    clips = clips.contiguous(memory_format=memory_format)
    exact = mix_scenes(clips.double(), params, backend="reference")
    out = mix_scenes(clips, params, inplace=inplace, backend="triton")
    assert out.is_contiguous(memory_format=memory_format)
    assert (out is clips) == inplace
    assert (out.double() - exact).abs().max() <= 2 * torch.finfo(dtype).eps * exact.abs().max()


@pytest.mark.parametrize("memory_format", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 4, 6), (2, 1, 1), (2, 3, 29)])
def test_mixes_scenes_into_another_dtype(shape, dtype, memory_format):
    clips, params = mix_case(*shape)
    clips = clips.contiguous(memory_format=memory_format)
    before = clips.clone()
    out = mix_scenes(clips, params, dtype=dtype, backend="triton")
    assert out.is_contiguous(memory_format=memory_format)
    assert is_narrowed(out, mix_scenes(clips, params, backend="triton"))
    assert torch.equal(clips, before)
