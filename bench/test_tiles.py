"""Which tiles of the InfoNCE kernels are the fastest on this GPU: each candidate, forward and backward.

Equality with eager PyTorch in float64 is asserted before anything is timed. What is fastest at 4,096 rows
belongs into `bodvcl.kernels.contrastive.tiles`; ``python -m bench.gpu`` lists the ratios in its summary.
"""

from __future__ import annotations

import pytest
import torch
from test_contrastive import ROUTES, assert_equal, make
from timing import gpu_times

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

CANDIDATES = {
    torch.float32: [
        (64, 32, 16, 8, 2),
        (128, 32, 16, 8, 2),
        (128, 32, 16, 8, 1),
        (128, 32, 32, 8, 3),
        (128, 64, 16, 8, 2),
        (64, 32, 16, 4, 2),
        (64, 64, 16, 4, 2),
    ],
    torch.bfloat16: [(64, 64, 128, 8, 2), (128, 64, 128, 8, 2), (128, 128, 128, 8, 2), (64, 64, 128, 4, 3)],
}
"""Own, step, chunk, warps and stages, as in `bodvcl.kernels.contrastive.Tiles`; the first is the baseline."""
SIZES = [(4096, 4096, 0), (512, 512, 65536)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    ("dtype", "shape"),
    [(dtype, shape) for dtype, shapes in CANDIDATES.items() for shape in shapes],
    ids=str,
)
def test_tiles(benchmark, monkeypatch, dtype, shape, size):
    from bodvcl.kernels import contrastive as kernels

    monkeypatch.setattr(kernels, "dense_tiles", lambda *_: kernels.Tiles(*shape))
    run = ROUTES["triton"]
    assert_equal(run, dtype, *size)
    inputs = make(*size, dtype)

    def call() -> None:
        run(inputs)
        torch.cuda.synchronize()

    benchmark.group = f"tiles {dtype} N={size[0]} K={size[1]} Q={size[2]}"
    benchmark.pedantic(call, warmup_rounds=2, rounds=20)
    if benchmark.disabled:
        return
    first = shape == CANDIDATES[dtype][0]
    benchmark.extra_info |= {"route": "baseline" if first else str(shape), **gpu_times(lambda: run(inputs))}
