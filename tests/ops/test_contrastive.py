from __future__ import annotations

import math

import pytest
import torch
from contrastive_cases import make, outputs
from torch.nn.functional import normalize, scaled_dot_product_attention

from bodvcl.ops.contrastive import chunked, info_nce, info_nce_parts, merge, negative_cosine
from bodvcl.reference import contrastive as reference

BACKENDS = ["torch", "chunked"]


def masks(options):
    positive = options["query_video"][:, None] == options["key_video"]
    excluded = options["query_clip"][:, None] == options["key_clip"]
    return positive, excluded


@pytest.fixture(params=[1, 40, 2**19], ids=lambda n: f"block{n}")
def blocks(request, monkeypatch):
    """Blocks of one row, of a few, and of all."""
    monkeypatch.setattr(chunked, "LEAST_ROWS", 1)
    monkeypatch.setattr(chunked, "BLOCK", request.param)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("q", [0, 7])
def test_equals_the_reference_per_stream(backend, q, blocks):
    query, keys, options = make(q=q, grad=True)
    tau = torch.tensor([0.1, 0.5], dtype=torch.float64, requires_grad=True)
    rows, *_, dq, dk, dtau = outputs(query, keys, options, backend=backend, temperature=tau)
    positive, excluded = (torch.cat((m, m.new_zeros(12, q)), 1) for m in masks(options))
    every = keys if q == 0 else torch.cat((keys, options["queue"]), 1)
    want = torch.stack(
        [reference.info_nce_rows(query[s], every[s], positive, excluded, tau[s]) for s in range(2)]
    )
    weights = torch.linspace(0.5, 2.0, 12, dtype=torch.float64)
    grads = torch.autograd.grad((want * weights).sum(), (query, keys, tau))
    torch.testing.assert_close(rows, want, rtol=1e-11, atol=1e-12)
    for got, expected in zip((dq, dk, dtau), grads):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradient_is_attention_with_values_that_are_keys(backend):
    """With one positive a row, dL/dq = (attention(q, K, K) - positive) / tau / rows."""
    g = torch.Generator().manual_seed(3)
    query = torch.randn(2, 9, 16, generator=g, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(2, 9, 16, generator=g, dtype=torch.float64)
    ids = {"query_video": torch.arange(9), "key_video": torch.arange(9)}
    loss = info_nce(query, keys, temperature=0.7, normalize=False, backend=backend, **ids)
    (got,) = torch.autograd.grad(loss.sum(), query)
    attended = scaled_dot_product_attention(query, keys, keys, scale=1 / 0.7)
    torch.testing.assert_close(got, (attended - keys) / 0.7 / 9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_loss_is_log_softmax_at_the_positive(backend):
    query, keys, _ = make(n=6, k=6)
    ids = {"query_video": torch.arange(6), "key_video": torch.arange(6)}
    got = info_nce(query, keys, reduction="none", backend=backend, **ids)
    logits = normalize(query, dim=-1) @ normalize(keys, dim=-1).mT / 0.1
    torch.testing.assert_close(got, -logits.log_softmax(-1).diagonal(dim1=-2, dim2=-1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_statistics_against_the_matrix(backend, blocks):
    query, keys, options = make(q=5)
    _, stats = info_nce(query, keys, return_stats=True, temperature=0.3, backend=backend, **options)
    positive, excluded = masks(options)
    cosine = normalize(query, dim=-1) @ normalize(keys, dim=-1).mT
    wanted = positive & ~excluded
    mean = torch.where(wanted, cosine, 0.0).sum(-1) / wanted.sum(-1)
    all_keys = torch.cat((cosine.masked_fill(excluded, -torch.inf), normalize(query, dim=-1)
                          @ normalize(options["queue"], dim=-1).mT), -1)  # fmt: skip
    p = (all_keys / 0.3).softmax(-1)
    best = all_keys.argmax(-1)
    hit = torch.cat((wanted, wanted.new_zeros(12, 5)), 1).expand(2, -1, -1).gather(-1, best[..., None])
    torch.testing.assert_close(stats.positive_similarity, mean.mean(-1))
    torch.testing.assert_close(stats.top1, hit[..., 0].double().mean(-1))
    torch.testing.assert_close(stats.entropy, -torch.special.xlogy(p, p).sum(-1).mean(-1))
    assert stats.rows.tolist() == [12, 12]
    assert stats.empty.tolist() == [0, 0]


@pytest.mark.parametrize("views", [2, 3, 4])
def test_routes_agree_in_simclr_form(views, blocks):
    g = torch.Generator().manual_seed(views)
    z = torch.randn(2, 5 * views, 7, generator=g, dtype=torch.float64, requires_grad=True)
    ids, clips = torch.arange(5).repeat_interleave(views), torch.arange(5 * views)
    options = {"query_video": ids, "key_video": ids, "query_clip": clips, "key_clip": clips}
    grads = []
    for backend in BACKENDS:
        loss = info_nce(z, z, backend=backend, **options)
        for s in range(2):
            torch.testing.assert_close(loss[s], reference.info_nce(z[s].unflatten(0, (5, views))))
        grads.append(torch.autograd.grad(loss.sum(), z)[0])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("backend", BACKENDS)
def test_order_of_keys_and_clips_of_other_videos_do_not_matter(backend, blocks):
    query, keys, options = make(grad=True)
    options["query_clip"] = torch.tensor([7, 3, 0, 7, 1, 2, 9, 9, 4, 5, 6, 8])
    options["key_clip"] = torch.arange(15) % 11
    order = torch.randperm(15, generator=torch.Generator().manual_seed(1))
    shuffled = options | {name: options[name][order] for name in ("key_video", "key_clip")}
    *a, dq, dk = outputs(query, keys, options, backend=backend)
    moved = keys.detach()[:, order].requires_grad_()
    *b, dq2, dk2 = outputs(query, moved, shuffled, backend=backend)
    for x, y in zip([*a, dq, dk[:, order]], [*b, dq2, dk2]):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_merge_of_parts_is_one_call(backend):
    query, keys, options = make(k=24, grad=True)
    whole = info_nce_parts(query, keys, backend=backend, **options)
    parts = []
    for span in (slice(0, 2), slice(2, 17), slice(17, 24)):
        part = options | {name: options[name][span] for name in ("key_video", "key_clip")}
        parts.append(info_nce_parts(query, keys[:, span], backend=backend, **part))
    joined = merge(*parts)
    for a, b in zip(joined, whole):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(joined.entropy(), whole.entropy())
    got, want = (torch.autograd.grad(p.loss().sum(), (query, keys)) for p in (joined, whole))
    torch.testing.assert_close(got, want)


def test_merge_refuses_what_does_not_fit():
    query, keys, options = make()
    with pytest.raises(ValueError, match="at least one"):
        merge()
    other = {"query_video": torch.arange(4), "key_video": torch.arange(15)}
    with pytest.raises(ValueError, match="expected the same rows in all"):
        merge(info_nce_parts(query, keys, **options), info_nce_parts(query[:, :4], keys, **other))


# ------------------------------------------------------------ derivatives, operator, compiler


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("unit", [True, False])
def test_gradcheck(backend, unit):
    query, keys, options = make(h=2, n=4, k=5, q=2, d=3, grad=True)
    tau = torch.tensor([0.5, 0.9], dtype=torch.float64, requires_grad=True)

    def call(q, k, t):
        return info_nce(
            q,
            k,
            temperature=t,
            normalize=unit,
            reduction="none",
            backend=backend,
            check_finite=False,
            **options,
        )

    assert torch.autograd.gradcheck(call, (query, keys, tau))


def test_second_derivative_on_the_eager_route_and_a_clear_refusal_elsewhere():
    query, keys, options = make(h=1, n=4, k=5, d=3, grad=True)
    assert torch.autograd.gradgradcheck(
        lambda q: info_nce(q, keys.detach(), temperature=0.5, backend="torch", **options), (query,)
    )
    loss = info_nce(query, keys, backend="chunked", **options).sum()
    (grad,) = torch.autograd.grad(loss, keys, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivative only"):
        grad.sum().backward()


@pytest.mark.parametrize("q", [0, 3])
def test_opcheck(q):
    query, keys, options = make(h=2, n=4, k=5, q=q, d=3, grad=True)
    inverse = [
        torch.ops.bodvcl.inverse_norms(x.detach(), None, True, True, "x", "a,b")
        for x in (query, keys, *([options["queue"]] if q else []))
    ]
    scale = torch.tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True)
    ids = [options[name] for name in ("query_video", "key_video", "query_clip", "key_clip")]
    arguments = (
        query, keys, options["queue"], *inverse[:2], inverse[2] if q else None, scale, *ids,
        True, "chunked", "ieee", True,
    )  # fmt: skip
    torch.library.opcheck(torch.ops.bodvcl.contrastive, arguments)
    rows, _ = torch.ops.bodvcl.contrastive(*arguments)
    backward = (
        torch.ones(2, 2, 4, dtype=torch.float64), rows[0].detach(), query.detach(), keys.detach(), None,
        *inverse[:2], None, scale.detach(), *ids, True, "chunked", "ieee",
    )  # fmt: skip
    torch.library.opcheck(torch.ops.bodvcl.contrastive_backward_keys, backward)
    torch.library.opcheck(
        torch.ops.bodvcl.inverse_norms, (query.detach(), scale.detach(), True, True, "x", "a,b")
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_in_one_graph(backend):
    query, keys, options = make(q=4, grad=True)

    def step(q, k):
        loss, stats = info_nce(q, k, return_stats=True, backend=backend, **options)
        return loss.sum(), stats.top1

    want = step(query, keys)
    got = torch.compile(step, fullgraph=True, backend="aot_eager")(query, keys)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(
        torch.autograd.grad(got[0], (query, keys)), torch.autograd.grad(want[0], (query, keys))
    )


# ------------------------------------------------------------ precision and memory


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tau", [0.1, 0.01])
def test_low_precision_is_at_most_twice_as_wrong_as_eager(dtype, tau):
    query, keys, options = make(n=30, k=40, q=11, d=24, dtype=dtype, grad=True)
    wide = [x.detach().double().requires_grad_() for x in (query, keys)]
    truth = outputs(*wide, options | {"queue": options["queue"].double()}, backend="torch", temperature=tau)
    eager = outputs(query, keys, options, backend="torch", temperature=tau)
    fused = outputs(query, keys, options, backend="chunked", temperature=tau)
    floor = torch.finfo(torch.float32).eps / tau  # of logits as large as 1 / tau
    for exact, ours, theirs in zip(truth, fused, eager):
        error, allowed = (ours - exact).abs().max(), (theirs - exact).abs().max()
        assert error <= 2 * allowed + floor * (1 + exact.abs().max())


def test_inputs_keep_their_precision_under_autocast():
    query, keys, options = make(dtype=torch.float32)
    want = info_nce(query, keys, backend="chunked", **options)
    with torch.autocast("cpu", torch.bfloat16):
        for backend in BACKENDS:
            torch.testing.assert_close(info_nce(query, keys, backend=backend, **options), want)


def test_nothing_of_the_size_of_the_matrix_is_allocated(monkeypatch):
    monkeypatch.setattr(chunked, "BLOCK", 2**12)
    n = 512
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(x.numel() for x in (out if isinstance(out, tuple) else (out,)) if torch.is_tensor(x))
            return out

    query, keys, options = make(n=n, k=n, d=16, dtype=torch.float32, grad=True)
    with Watch():
        info_nce(query, keys, backend="chunked", **options).sum().backward()
    assert max(sizes) <= max(2 * 2 * n * 16, 16 * n)


def test_bitwise_the_same_from_run_to_run():
    query, keys, options = make(n=60, k=70, q=9, dtype=torch.float32, grad=True)
    first, second = (outputs(query, keys, options, backend="chunked") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


# ------------------------------------------------------------ edge cases


@pytest.mark.parametrize("backend", BACKENDS)
class TestEdges:
    def test_one_key(self, backend):
        query, keys, _ = make(n=3, k=1, grad=True)
        ids = {"query_video": torch.tensor([0, 0, 1]), "key_video": torch.tensor([0])}
        rows = info_nce(query, keys, reduction="none", backend=backend, **ids)
        assert rows.abs().max() == 0
        assert torch.autograd.grad(rows.sum(), query)[0].abs().max() == 0

    def test_row_without_a_positive_contributes_nothing(self, backend):
        query, keys, options = make(grad=True)
        options["query_video"] = options["query_video"].clone()
        options["query_video"][4] = 99
        rows, stats = info_nce(query, keys, reduction="none", return_stats=True, backend=backend, **options)
        assert rows[:, 4].abs().max() == 0
        assert stats.rows.tolist() == [11, 11]
        assert torch.autograd.grad(rows.sum(), query)[0][:, 4].abs().max() == 0
        mean = info_nce(query, keys, backend=backend, **options)
        torch.testing.assert_close(mean, rows.sum(-1) / 11)

    def test_all_keys_excluded(self, backend):
        query, keys, options = make(grad=True)
        same = {
            "query_clip": torch.zeros(12, dtype=torch.int64),
            "key_clip": torch.zeros(15, dtype=torch.int64),
        }
        loss, stats = info_nce(query, keys, return_stats=True, backend=backend, **(options | same))
        assert loss.tolist() == [0, 0]
        assert all(torch.isfinite(x).all() for x in stats)
        for grad in torch.autograd.grad(loss.sum(), (query, keys)):
            assert grad.abs().max() == 0

    def test_duplicate_rows(self, backend):
        query = torch.ones(1, 6, 4, dtype=torch.float64)
        ids = torch.arange(6) // 2
        options = {
            "query_video": ids,
            "key_video": ids,
            "query_clip": torch.arange(6),
            "key_clip": torch.arange(6),
        }
        loss, stats = info_nce(query, query, return_stats=True, backend=backend, **options)
        assert loss.item() == pytest.approx(math.log(5))
        assert stats.top1.item() == 0
        assert stats.entropy.item() == pytest.approx(math.log(5))

    def test_zero_vectors_contribute_nothing_and_are_counted(self, backend):
        query, keys, options = make(q=4)
        query[0, 2] = 0
        keys[1, 4] = 0
        options["queue"][0, 1] = 0
        query.requires_grad_()
        keys.requires_grad_()
        rows, *stats, dq, dk = outputs(query, keys, options, backend=backend)
        assert rows[0, 2] == 0
        assert stats[4].tolist() == [1, 0]
        assert dq[0, 2].abs().max() == 0
        assert dk[1, 4].abs().max() == 0
        kept = [j for j in range(15) if j != 4]
        less = options | {name: options[name][kept] for name in ("key_video", "key_clip")}
        less["queue"] = options["queue"]
        want = info_nce(query, keys[:, kept], reduction="none", backend=backend, **less)
        torch.testing.assert_close(rows[1], want[1])

    def test_rows_that_are_not_valid(self, backend):
        query, _, _ = make(grad=True)
        ids, clips = torch.arange(12) // 3, torch.arange(12)
        options = {"query_video": ids, "key_video": ids, "query_clip": clips, "key_clip": clips}
        valid = torch.ones(2, 12, dtype=torch.bool)
        valid[0, 3:5] = False
        rows, stats = info_nce(
            query, query, valid=valid, reduction="none", return_stats=True, backend=backend, **options
        )
        kept = [i for i in range(12) if i not in (3, 4)]
        less = {name: x[kept] for name, x in options.items()}
        sub = query[:1, kept]
        torch.testing.assert_close(
            rows[0, kept], info_nce(sub, sub, reduction="none", backend=backend, **less)[0]
        )
        assert rows[0, 3:5].abs().max() == 0
        assert stats.empty.tolist() == [0, 0]
        assert torch.autograd.grad(rows.sum(), query)[0][0, 3:5].abs().max() == 0

    def test_scale_of_a_hundred_does_not_overflow(self, backend):
        query, keys, options = make(dtype=torch.float32, grad=True)
        exact = info_nce(query.double(), keys.double(), temperature=0.01, backend="torch", **options)
        loss = info_nce(query, keys, temperature=0.01, backend=backend, **options)
        torch.testing.assert_close(loss, exact.float(), rtol=1e-4, atol=1e-4)
        assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss.sum(), (query, keys)))

    def test_not_contiguous(self, backend):
        query, keys, options = make(q=5)
        want = info_nce(query, keys, backend=backend, **options)
        odd = [x.permute(1, 2, 0).contiguous().permute(2, 0, 1) for x in (query, keys, options["queue"])]
        assert not odd[0].is_contiguous()
        got = info_nce(*odd[:2], backend=backend, **(options | {"queue": odd[2]}))
        torch.testing.assert_close(got, want)
        assert (
            not torch.autograd.grad(
                info_nce(odd[0].requires_grad_(), keys, backend=backend, **options).sum(), odd[0]
            )[0]
            .isnan()
            .any()
        )

    @pytest.mark.parametrize(("h", "n", "k", "q"), [(2, 0, 5, 0), (2, 4, 0, 0), (2, 4, 0, 3), (0, 4, 5, 0)])
    def test_empty_batches(self, backend, h, n, k, q):
        query, keys, options = make(h=h, n=n, k=k, q=q, grad=True)
        loss, stats = info_nce(query, keys, return_stats=True, backend=backend, **options)
        assert loss.tolist() == [0] * h
        assert all(torch.isfinite(x).all() for x in stats)
        grads = torch.autograd.grad(loss.sum(), (query, keys), allow_unused=True)
        assert all(g is None or not g.isnan().any() for g in grads)

    def test_integer_types_of_ids(self, backend):
        query, keys, options = make()
        narrow = {name: x.int() if name != "queue" else x for name, x in options.items() if x is not None}
        torch.testing.assert_close(
            info_nce(query, keys, backend=backend, **narrow),
            info_nce(query, keys, backend=backend, **options),
        )


# ------------------------------------------------------------ negative cosine


def test_negative_cosine_equals_the_reference_per_stream():
    query, _, _ = make(grad=True)
    target = make(n=12, seed=1)[0].requires_grad_()
    rows = negative_cosine(query, target, reduction="none")
    want = torch.stack([reference.negative_cosine(query[s], target[s]) for s in range(2)])
    torch.testing.assert_close(rows, want)
    torch.testing.assert_close(negative_cosine(query, target), want.mean(-1))
    torch.testing.assert_close(negative_cosine(query, target, reduction="sum"), want.sum(-1))
    grads = torch.autograd.grad(rows.sum(), (query, target), allow_unused=True)
    assert grads[1] is None
    torch.testing.assert_close(grads[0], torch.autograd.grad(want.sum(), query)[0])


def test_negative_cosine_leaves_out_empty_and_invalid_rows():
    query, target = make()[0], make(n=12, seed=1)[0]
    query[0, 1] = 0
    target[0, 2] = 0
    query.requires_grad_()
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[0, 3] = False
    loss = negative_cosine(query, target, valid=valid)
    kept = [0, *range(4, 12)]
    torch.testing.assert_close(loss[0], negative_cosine(query[:1, kept], target[:1, kept])[0])
    grad = torch.autograd.grad(loss.sum(), query)[0]
    assert torch.isfinite(grad).all()
    assert grad[0, 1:4].abs().max() == 0


def test_negative_cosine_refuses_other_shapes():
    query, keys, _ = make()
    with pytest.raises(ValueError, match=r"target is \(2, 15, 8\); expected \(2, 12, 8\), as prediction"):
        negative_cosine(query, keys)
