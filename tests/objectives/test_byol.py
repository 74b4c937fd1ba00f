from __future__ import annotations

import copy

import pytest
import torch
from batches import DIM, STREAMS, VIDEOS, batch, cosine, gradients

from bodvcl.objectives.byol import BYOL


@pytest.fixture
def byol():
    torch.manual_seed(0)
    return BYOL(STREAMS, DIM, 7, 0.99).double().train()


def by_the_formula(objective, b):
    """Minus the mean cosine over ordered pairs of different clips of a video whose rows are not zero."""
    losses = {}
    for name in STREAMS:
        p = objective.predictor[name](b.streams[name]).unflatten(0, (VIDEOS, b.views))
        z, t = (x[name].unflatten(0, (VIDEOS, b.views)) for x in (b.streams, b.targets))
        terms = [
            -cosine(p[i, j], t[i, k])
            for i in range(VIDEOS)
            for j in range(b.views)
            for k in range(b.views)
            if j != k and z[i, j].abs().max() > 0 and t[i, k].abs().max() > 0
        ]
        losses[name] = torch.stack(terms).mean()
    return losses


@pytest.mark.parametrize("views", [2, 3, 4])
def test_equals_the_formula_pair_by_pair(byol, views):
    b = batch(views)
    got, want = byol(b), by_the_formula(copy.deepcopy(byol), b)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradients(got, b.streams), gradients(want, b.streams), rtol=1e-8, atol=1e-12)


def test_empty_streams_contribute_nothing(byol):
    b = batch(3, empty=((0, 1), (2, 0)), empty_targets=((1, 0), (3, 1), (3, 2)))
    got = byol(b)
    torch.testing.assert_close(got, by_the_formula(copy.deepcopy(byol), b), rtol=1e-9, atol=1e-12)
    grad = gradients(got, b.streams)[0]
    assert grad[[1, 6]].abs().max() == 0
    assert grad[0].abs().max() > 0


def test_the_targets_get_no_gradient(byol):
    b = batch(2)
    targets = {name: t.clone().requires_grad_() for name, t in b.targets.items()}
    losses = byol(b._replace(targets=targets))
    found = torch.autograd.grad(sum(losses.values()), list(targets.values()), allow_unused=True)
    assert found == (None, None)


def test_each_stream_has_its_own_predictor_with_batch_statistics(byol):
    b = batch(2)
    byol(b)
    means = [m.running_mean for m in byol.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert len(means) == 2
    assert not torch.equal(*means)


def test_perfect_predictions_have_loss_minus_one(byol):
    byol.predictor = torch.nn.ModuleDict({name: Same() for name in STREAMS})
    b = batch(2)
    for name in STREAMS:
        b.streams[name].data[1::2] = b.streams[name].data[0::2]
    losses = byol(b._replace(targets={name: 3 * z.detach() for name, z in b.streams.items()}))
    assert torch.stack(list(losses.values())).tolist() == pytest.approx([-1, -1])


class Same(torch.nn.Module):
    """A predictor that changes nothing."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, z):
        return z
