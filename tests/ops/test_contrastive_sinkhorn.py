from __future__ import annotations

import pytest
import torch

from bodvcl.ops.sinkhorn import sinkhorn_knopp, swapped_prediction
from bodvcl.reference import sinkhorn as reference


def scores(*shape, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=g, dtype=torch.float64) * 2 - 1).to(dtype)


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_equals_the_authors_formulation_stream_by_stream(iterations):
    x = scores(3, 12, 5)
    got = sinkhorn_knopp(x, iterations=iterations)
    for s in range(3):
        torch.testing.assert_close(got[s], reference.sinkhorn(x[s], iterations=iterations))


def test_balances_samples_and_in_the_limit_prototypes():
    q = sinkhorn_knopp(scores(2, 40, 8), iterations=200, epsilon=0.5)
    torch.testing.assert_close(q.sum(2), torch.ones(2, 40, dtype=torch.float64))
    torch.testing.assert_close(q.sum(1), torch.full((2, 8), 5.0, dtype=torch.float64))


def test_a_small_epsilon_does_not_overflow():
    x = scores(1, 20, 4, dtype=torch.float32)
    assert not torch.isfinite(reference.sinkhorn(x[0], epsilon=1e-3)).all()
    q = sinkhorn_knopp(x, epsilon=1e-3)
    torch.testing.assert_close(q.sum(2), torch.ones(1, 20))


def test_samples_that_are_not_valid_take_no_part():
    x = scores(2, 12, 5)
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[0, 4:6] = False
    q = sinkhorn_knopp(x, valid=valid)
    kept = [i for i in range(12) if i not in (4, 5)]
    torch.testing.assert_close(q[0, kept], reference.sinkhorn(x[0, kept]))
    assert q[0, 4:6].abs().max() == 0
    assert sinkhorn_knopp(x, valid=torch.zeros_like(valid)).abs().max() == 0
    assert sinkhorn_knopp(x[:, :0]).shape == (2, 0, 5)


@pytest.mark.parametrize("views", [2, 4])
def test_swapped_prediction_equals_the_reference_with_its_gradient(views):
    x = scores(2, views, 6, 5).requires_grad_()
    got = swapped_prediction(x, temperature=0.2)
    want = torch.stack([reference.swapped_prediction(x[s], temperature=0.2) for s in range(2)])
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(torch.autograd.grad(got.sum(), x)[0], torch.autograd.grad(want.sum(), x)[0])


def test_only_the_first_views_assign():
    x = scores(1, 3, 6, 5)
    target = reference.sinkhorn(x[0, 0])
    terms = [-(target * (x[0, v] / 0.1).log_softmax(-1)).sum(-1).mean() for v in (1, 2)]
    torch.testing.assert_close(swapped_prediction(x, assign_views=1)[0], torch.stack(terms).mean())


def test_empty_clips_give_and_predict_nothing():
    x = scores(1, 2, 6, 5).requires_grad_()
    valid = torch.ones(1, 2, 6, dtype=torch.bool)
    valid[0, 0, 2] = valid[0, 1, 4] = False
    loss = swapped_prediction(x, valid=valid)
    with torch.no_grad():
        a, b = ([i for i in range(6) if i != gone] for gone in (2, 4))
        qa, qb = torch.zeros(6, 5, dtype=torch.float64), torch.zeros(6, 5, dtype=torch.float64)
        qa[a], qb[b] = reference.sinkhorn(x[0, 0, a]), reference.sinkhorn(x[0, 1, b])
        log_p = (x[0] / 0.1).log_softmax(-1)
        both = [0, 1, 3, 5]
        want = -((qa * log_p[1])[both].sum() + (qb * log_p[0])[both].sum()) / 8
    torch.testing.assert_close(loss[0], want)
    grad = torch.autograd.grad(loss.sum(), x)[0]
    assert grad[0, 0, 2].abs().max() == 0
    assert swapped_prediction(x, valid=torch.zeros_like(valid)).item() == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sinkhorn_knopp(torch.zeros(4, 5)), ValueError, r"scores is \(4, 5\); expected \(H, N, P\)"),
        (lambda: sinkhorn_knopp(torch.zeros(1, 4, 5, dtype=torch.int64)), TypeError, "floating-point"),
        (
            lambda: sinkhorn_knopp(torch.zeros(1, 4, 5), epsilon=0.0),
            ValueError,
            "epsilon is 0.0; expected a positive",
        ),
        (
            lambda: sinkhorn_knopp(torch.zeros(1, 4, 5), iterations=0),
            ValueError,
            "iterations is 0; expected at least 1",
        ),
        (
            lambda: sinkhorn_knopp(torch.zeros(1, 4, 5), valid=torch.ones(1, 4)),
            ValueError,
            "valid is .*; expected torch.bool",
        ),
        (lambda: swapped_prediction(torch.zeros(1, 1, 4, 5)), ValueError, "at least two views"),
        (
            lambda: swapped_prediction(torch.zeros(1, 2, 4, 5), temperature=0),
            ValueError,
            "temperature is 0; expected",
        ),
        (
            lambda: swapped_prediction(torch.zeros(1, 2, 4, 5), assign_views=3),
            ValueError,
            "assign_views is 3; expected 1 to 2",
        ),
        (
            lambda: swapped_prediction(torch.zeros(1, 2, 4, 5), valid=torch.ones(2, 4, dtype=torch.bool)),
            ValueError,
            "valid is .*; expected torch.bool",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
