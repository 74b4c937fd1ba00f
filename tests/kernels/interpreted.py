"""The Triton kernels on CPU tensors, against the eager route.

``python -m pytest interpreted.py`` collects the cases; the interpreter must be chosen before Triton is
imported, so they live in a process of their own.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import pytest
import torch

from bodvcl.kernels import contrastive as kernels
from bodvcl.ops.contrastive import info_nce

pytestmark = pytest.mark.filterwarnings("ignore:divide by zero")


@pytest.fixture(autouse=True)
def poisoned_memory():
    """Output elements that no kernel wrote are NaN."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


def case(h=2, n=20, k=37, q=0, d=24, dtype=torch.float32, clips=True, seed=0):
    g = torch.Generator().manual_seed(seed)

    def random(rows):
        return torch.randn(h, rows, d, generator=g).to(dtype)

    ids = {"query_video": torch.arange(n) // 3, "key_video": torch.arange(k) // 3}
    if clips:
        ids |= {"query_clip": torch.arange(n), "key_clip": torch.arange(k)}
    query, keys = random(n).requires_grad_(), random(k).requires_grad_()
    return query, keys, ids | {"queue": random(q) if q else None}


def run(query, keys, options, backend, **more):
    tau = torch.tensor([0.1, 0.3, 0.2][: len(query)], requires_grad=True)
    rows, stats = info_nce(
        query, keys, temperature=tau, reduction="none", return_stats=True, backend=backend, **options, **more
    )
    weights = torch.linspace(0.5, 2.0, query.shape[1])
    grads = torch.autograd.grad((rows * weights).sum(), (query, keys, tau))
    return [rows, *stats, *grads]


def compare(query, keys, options, **more):
    got, want = (run(query, keys, options, backend, **more) for backend in ("triton", "torch"))
    slack = {torch.float32: 1e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}[query.dtype]
    for a, b in zip(got, want):
        torch.testing.assert_close(a.float(), b.float(), rtol=slack, atol=slack)
    return got


@pytest.mark.parametrize(
    ("h", "n", "k", "q", "d"),
    [
        (2, 20, 37, 33, 24),
        (1, 1, 1, 0, 1),
        (1, 17, 1, 5, 40),
        (2, 16, 32, 16, 16),
        (3, 5, 64, 0, 33),
        (2, 4, 0, 3, 8),
        (1, 50, 16, 0, 8),
    ],
)
def test_equals_eager_at_sizes_that_fit_no_tile(h, n, k, q, d):
    compare(*case(h, n, k, q, d))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types(dtype):
    compare(*case(dtype=dtype, q=9))


@pytest.mark.parametrize("unit", [True, False])
def test_without_clips_and_without_normalisation(unit):
    query, keys, options = case(clips=False, d=8)
    with torch.no_grad():
        query *= 0.1
    compare(query, keys, options, normalize=unit)


@pytest.mark.parametrize("splits", [1, 3, 5])
def test_any_number_of_splits(monkeypatch, splits):
    monkeypatch.setattr(kernels, "split_count", lambda blocks, steps, device: min(splits, max(steps, 1)))
    query, keys, options = case(n=40, k=55, q=30)
    first = compare(query, keys, options)
    assert all(torch.equal(a, b) for a, b in zip(first, run(query, keys, options, "triton")))


def test_empty_rows_keys_and_rows_without_positives():
    query, keys, options = case(q=5)
    with torch.no_grad():
        query[0, 3] = 0
        keys[1, 4] = 0
        options["queue"][0, 2] = 0
    options["query_video"] = options["query_video"].clone()
    options["query_video"][6] = 99
    valid = torch.ones(2, 20, dtype=torch.bool)
    valid[1, 8] = False
    rows, *_, dq, dk, _ = compare(query, keys, options, valid=valid)
    for gone in (rows[0, 3], rows[:, 6], rows[1, 8], dq[0, 3], dq[:, 6], dq[1, 8], dk[1, 4]):
        assert gone.abs().max() == 0


def test_all_keys_excluded():
    query, keys, options = case()
    same = {name: torch.zeros_like(options[name]) for name in ("query_clip", "key_clip")}
    *_, dq, dk, dtau = compare(query, keys, options | same)
    assert max(g.abs().max() for g in (dq, dk, dtau)) == 0


def test_not_contiguous_and_clips_shared_between_videos():
    query, keys, options = case(q=8)
    options["key_clip"] = torch.arange(37) % 11
    odd = [x.detach().permute(1, 2, 0).contiguous().permute(2, 0, 1).requires_grad_() for x in (query, keys)]
    sliced = torch.cat((options["queue"],) * 2, 2)[:, ::1, : query.shape[2]]
    assert not sliced.is_contiguous()
    compare(*odd, options | {"queue": sliced})


def test_loss_alone_needs_no_means():
    query, keys, options = case()
    with torch.no_grad():
        got, want = (info_nce(query, keys, backend=b, **options) for b in ("triton", "torch"))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_operator_checks_and_compiles():
    query, keys, options = case(h=1, n=4, k=5, d=3)

    def step(q):
        return info_nce(q, keys, backend="triton", **options).sum()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")(query)
    torch.testing.assert_close(compiled, step(query))
    inverse = [torch.ops.bodvcl.inverse_norms(x.detach(), None, True, True, "x", "a") for x in (query, keys)]
    ids = [options[name] for name in ("query_video", "key_video", "query_clip", "key_clip")]
    arguments = (query, keys, None, *inverse, None, torch.ones(1), *ids, True, "triton", "ieee", True)
    torch.library.opcheck(torch.ops.bodvcl.contrastive, arguments)
