"""The augmentation kernel: numbers through the interpreter, resources by compiling ahead of time, both
without a GPU; with one, numbers on the device.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from test_contrastive_kernels import FOLDER, SHARED_LIMIT, assert_registers_suffice, needs_triton, process

from bodvcl.ops.augment import MixParams, augment_clips, mix_scenes

sys.path.insert(0, str(Path(__file__).parents[1] / "ops"))
from augment_cases import MEAN, RADIUS, STD, assert_close, case, eager
from test_mix_scenes import case as mix_case


@pytest.mark.slow
@needs_triton
def test_numbers_through_the_interpreter():
    import triton

    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7):
        pytest.skip("the interpreter of Triton before 3.7 breaks on loops with NumPy 2.5")
    cases = FOLDER / "augment_interpreted.py"
    out = process("-m", "pytest", "-q", "-p", "no:cacheprovider", cases, TRITON_INTERPRET="1")
    assert "passed" in out
    assert "failed" not in out


TARGETS = [(80, "fp32"), (90, "bf16"), (100, "fp16"), (120, "bf16")]
"""Every architecture and every dtype, not every pair: each takes some twenty seconds."""


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize(("arch", "dtype"), TARGETS)
def test_compiles_ahead_of_time_without_spills(arch, dtype, tmp_path):
    script = FOLDER / "augment_ahead_of_time.py"
    entries = [*map(json.loads, process(script, arch, dtype, TRITON_CACHE_DIR=str(tmp_path)).splitlines())]
    assert [(e["radius"], e["box"]) for e in entries] == [(0, False), (0, True), (6, True), (24, False)]
    for entry in entries:
        assert_registers_suffice(entry, loops=entry["box"] or entry["radius"] > 0)
        assert entry["shared"] <= SHARED_LIMIT, entry
        assert (entry["mma"] > 0) == (entry["radius"] > 0), entry


@pytest.mark.slow
@needs_triton
def test_compiles_with_sizes_of_one(tmp_path):
    script = FOLDER / "augment_ahead_of_time.py"
    entries = process(script, 90, "fp32", "ones", TRITON_CACHE_DIR=str(tmp_path)).splitlines()
    assert len(entries) == 2
    for entry in map(json.loads, entries):
        assert_registers_suffice(entry, loops=entry["box"] or entry["radius"] > 0)


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize(("arch", "dtype"), TARGETS)
def test_the_mixing_kernels_compile_ahead_of_time_without_spills(arch, dtype, tmp_path):
    script = FOLDER / "mix_ahead_of_time.py"
    entries = [*map(json.loads, process(script, arch, dtype, TRITON_CACHE_DIR=str(tmp_path)).splitlines())]
    assert [e["channels_last"] for e in entries] == 2 * [True, False, True] + [True]
    for entry in entries:
        assert entry["spills_in_loops"] == 0, entry
        assert entry["stack"] == 0, entry
        assert entry["shared"] <= SHARED_LIMIT, entry


# ------------------------------------------------------------ on a GPU


@pytest.mark.gpu
@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnDevice:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("box", [False, True])
    @pytest.mark.parametrize("size", [20, 112, 224])
    def test_at_most_twice_as_wrong_as_eager(self, size, box, dtype):
        clips, params = case(size=size, box=box)
        exact = eager(clips, params, size, torch.float64)
        by_eager = eager(clips, params, size, dtype)
        moved = params._replace(**{k: v.cuda() for k, v in params._asdict().items() if v is not None})
        out = augment_clips(
            clips.cuda(), moved, size, MEAN, STD, dtype, radius=RADIUS, backend="triton"
        ).cpu()  # fmt: skip
        assert_close(out, exact, by_eager, floor=1e-5)

    def test_bitwise_the_same_from_run_to_run_and_in_any_format(self):
        clips, params = case(size=112)
        moved = params._replace(**{k: v.cuda() for k, v in params._asdict().items() if v is not None})
        formats = (torch.channels_last_3d, torch.channels_last_3d, torch.contiguous_format)
        first, second, third = (
            augment_clips(clips.cuda(), moved, 112, MEAN, STD, torch.bfloat16, f, radius=RADIUS)
            for f in formats
        )
        assert torch.equal(first, second)
        assert torch.equal(first, third)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("memory_format", [torch.channels_last_3d, torch.contiguous_format])
    @pytest.mark.parametrize("shape", [(5, 4, 6), (2, 1, 1), (3, 16, 112)])
    def test_mixed_scenes(self, shape, memory_format, dtype):
        clips, params = mix_case(*shape, dtype=dtype)
        exact = mix_scenes(clips.double(), params, backend="reference")
        moved = clips.cuda().contiguous(memory_format=memory_format)
        out = mix_scenes(moved, MixParams(*(x.cuda() for x in params)), backend="triton")
        assert out.is_contiguous(memory_format=memory_format)
        assert (out.cpu().double() - exact).abs().max() <= 2 * torch.finfo(dtype).eps * exact.abs().max()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("memory_format", [torch.channels_last_3d, torch.contiguous_format])
    @pytest.mark.parametrize(("size", "box"), [(20, True), (53, False), (112, True)])
    def test_a_narrow_result_is_the_float32_one_rounded(self, size, box, memory_format, dtype):
        """Up to what the compiler fuses in each of the two; a blur has TF32 products for a narrow result."""
        clips, params = case(size=size, box=box)
        moved = params._replace(**{k: v.cuda() for k, v in params._asdict().items() if v is not None})
        whole, out = (
            augment_clips(
                clips.cuda(), moved, size, MEAN, STD, t, memory_format, radius=RADIUS, backend="triton"
            )
            for t in (torch.float32, dtype)
        )
        assert out.is_contiguous(memory_format=memory_format)
        eps, still = torch.finfo(dtype).eps, moved.sigma == 0
        assert ((out - whole)[still].abs() <= eps * whole[still].abs() / 2 + 1e-6).all()
        assert ((out - whole).abs() <= eps * whole.abs() / 2 + 2**-7).all()  # four roundings to TF32

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("memory_format", [torch.channels_last_3d, torch.contiguous_format])
    @pytest.mark.parametrize("shape", [(5, 4, 6), (2, 1, 1), (3, 16, 112)])
    def test_mixed_scenes_of_another_dtype(self, shape, memory_format, dtype):
        clips, params = mix_case(*shape)
        moved = clips.cuda().contiguous(memory_format=memory_format)
        on_device = MixParams(*(x.cuda() for x in params))
        out = mix_scenes(moved, on_device, dtype=dtype, backend="triton")
        assert out.is_contiguous(memory_format=memory_format)
        assert torch.equal(out, mix_scenes(moved, on_device, backend="triton").to(dtype))
