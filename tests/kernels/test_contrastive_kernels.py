"""The Triton kernels: numbers through the interpreter, resources by compiling ahead of time, both without a
GPU; with one, numbers and reproducibility on the device.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from patience import LONG, PATIENCE

from bodvcl.ops.contrastive import info_nce

FOLDER = Path(__file__).parent
SHARED_LIMIT = 99 * 1024
MATRIX_INSTRUCTIONS = ("wgmma.mma_async", "mma.sync", "tcgen05.mma")

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)


STACK_LIMIT = 64
"""Bytes a thread: a few values wait there while a loop runs, on one compiler or another."""
SPILLS_PER_INSTRUCTION = 0.01
"""Of a loop: kernels that are too large for the registers have 0.03 and more."""


def assert_registers_suffice(entry: dict, loops: bool = True) -> None:
    assert (entry["in_loops"] > 0) == loops, entry
    assert entry["spills_in_loops"] <= SPILLS_PER_INSTRUCTION * entry["in_loops"], entry
    assert entry["stack"] <= STACK_LIMIT, entry


def process(*arguments: object, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
@needs_triton
def test_numbers_through_the_interpreter():
    import triton

    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7):
        pytest.skip("the interpreter of Triton before 3.7 breaks on loops with NumPy 2.5")
    out = process(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", FOLDER / "interpreted.py", TRITON_INTERPRET="1"
    )
    assert "passed" in out
    assert "failed" not in out


KERNELS = ("negatives", "positives", "backward", "merge")
FAST = [(90, "fp32", 128, "tf32x3")]
USUAL = [("fp32", 128, "tf32x3"), ("bf16", 128, "tf32x3"), ("fp32", 256, "tf32x3")]
OTHERS = [
    ("fp32", 64, "tf32x3"),
    ("bf16", 64, "tf32x3"),
    ("bf16", 256, "tf32x3"),
    ("fp16", 128, "tf32x3"),
    ("fp32", 128, "bf16"),
    ("fp32", 20, "tf32"),
]
EVERY = [(arch, *kind) for arch in (80, 90, 100, 120) for kind in USUAL]
EVERY += [(90, *kind) for kind in OTHERS] + [(100, *kind) for kind in OTHERS if kind[0] != "bf16"]
RARE = [(arch, *kind) for arch, *kind in EVERY if arch != 90 and tuple(kind) != USUAL[0]]
"""Other architectures are compiled once; their other variants take long."""


@pytest.mark.slow
@needs_triton
def test_compiles_with_sizes_of_one(tmp_path):
    arguments = (90, "fp32", 64, "tf32x3", "ones")
    out = process(FOLDER / "ahead_of_time.py", *arguments, TRITON_CACHE_DIR=str(tmp_path))
    assert len(out.splitlines()) == 6


@pytest.mark.slow
@needs_triton
def test_a_kernel_that_spills_is_seen(tmp_path):
    arguments = (90, "fp32", 128, "tf32x3", "registers=128")
    out = process(FOLDER / "ahead_of_time.py", *arguments, TRITON_CACHE_DIR=str(tmp_path))
    kernels = {entry["kernel"]: entry for entry in map(json.loads, out.splitlines())}
    assert_registers_suffice(kernels["merge"])
    negatives = kernels["negatives"]
    assert negatives["registers"] <= 128
    assert negatives["spills_in_loops"] > 0.03 * negatives["in_loops"]
    with pytest.raises(AssertionError):
        assert_registers_suffice(negatives)


@needs_triton
@pytest.mark.parametrize(
    ("arch", "dtype", "width", "precision"),
    [
        *FAST,
        *(
            pytest.param(*kind, marks=[pytest.mark.slow, *([LONG] if kind in RARE else [])])
            for kind in EVERY
            if kind not in FAST
        ),
    ],
)
def test_compiles_ahead_of_time_without_spills(arch, dtype, width, precision, tmp_path):
    out = process(
        FOLDER / "ahead_of_time.py",
        *(arch, dtype, width, precision),
        TRITON_CACHE_DIR=str(tmp_path),
    )
    kernels = {entry["kernel"]: entry for entry in map(json.loads, out.splitlines())}
    assert set(kernels) - {"negatives, many", "backward, many"} == set(KERNELS)
    assert ("negatives, many" in kernels) == (arch in (90, 100) and dtype != "bf16" and width <= 128)
    for name, entry in kernels.items():
        assert_registers_suffice(entry)
        assert entry["shared"] <= SHARED_LIMIT, entry
        assert name == "merge" or sum(entry["mma"][op] for op in MATRIX_INSTRUCTIONS), entry


# ------------------------------------------------------------ on a GPU


def device_case(n, k, q, d, dtype, seed=0):
    g = torch.Generator("cuda").manual_seed(seed)

    def random(rows):
        return torch.randn(2, rows, d, generator=g, device="cuda").to(dtype)

    def ids(rows):
        return torch.arange(rows, device="cuda")

    options = {"query_video": ids(n) // 3, "key_video": ids(k) // 3, "query_clip": ids(n), "key_clip": ids(k)}
    return (
        random(n).requires_grad_(),
        random(k).requires_grad_(),
        options | {"queue": random(q) if q else None},
    )


def device_run(query, keys, options, backend):
    tau = torch.tensor([0.07, 0.2], device="cuda", dtype=torch.promote_types(query.dtype, torch.float32))
    tau.requires_grad_()
    rows, stats = info_nce(
        query, keys, temperature=tau, reduction="none", return_stats=True, backend=backend, **options
    )
    weights = torch.linspace(0.5, 2.0, query.shape[1], device="cuda")
    return [rows, *stats, *torch.autograd.grad((rows * weights).sum(), (query, keys, tau))]


def double(query, keys, options):
    wide = [x.detach().double().requires_grad_() for x in (query, keys)]
    queue = options["queue"]
    return *wide, options | {"queue": None if queue is None else queue.double()}


@pytest.mark.gpu
@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnDevice:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize(
        ("n", "k", "q", "d"),
        [
            (64, 64, 0, 128),
            (100, 333, 1000, 128),
            (7, 1, 0, 64),
            (300, 200, 50, 200),
            (1100, 700, 0, 128),  # many: other tiles on some devices
            (513, 3000, 70, 60),
            (600, 5, 0, 128),
        ],
    )
    @pytest.mark.parametrize("backend", ["triton", "chunked"])
    def test_at_most_twice_as_wrong_as_eager(self, n, k, q, d, dtype, backend):
        query, keys, options = device_case(n, k, q, d, dtype)
        truth = device_run(*double(query, keys, options), "torch")
        eager = device_run(query, keys, options, "torch")
        ours = device_run(query, keys, options, backend)
        floor = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 4e-3}[dtype]
        for exact, a, b in zip(truth, ours, eager):
            error, allowed = (a - exact).abs().max(), (b - exact).abs().max()
            assert error <= 2 * allowed + floor * (1 + exact.abs().max())

    def test_bitwise_the_same_from_run_to_run(self):
        arguments = device_case(64, 4096, 3000, 128, torch.float32)
        first, second = (device_run(*arguments, "triton") for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second))

    def test_memory_grows_with_rows_not_with_the_matrix(self):
        query, keys, options = device_case(8192, 8192, 0, 128, torch.float32)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        info_nce(query, keys, backend="triton", **options).sum().backward()
        peak = torch.cuda.max_memory_allocated() - before
        assert peak < 40 * query.numel() * 4

    def test_compiles_in_one_graph(self):
        query, keys, options = device_case(64, 64, 0, 128, torch.float32)

        def step(q):
            return info_nce(q, keys, backend="triton", check_finite=False, **options).sum()

        torch.testing.assert_close(torch.compile(step, fullgraph=True)(query), step(query))
