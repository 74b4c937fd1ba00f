from __future__ import annotations

import pytest
import torch
from batches import DIM, STREAMS, VIDEOS, batch, gradients
from torch.nn.functional import normalize

from bodvcl.objectives.swav import SwAV

TAU, EPSILON, ITERATIONS, PROTOTYPES = 0.2, 0.1, 3, 6


def swav(freeze=0.0):
    torch.manual_seed(0)
    return SwAV(STREAMS, DIM, TAU, PROTOTYPES, EPSILON, ITERATIONS, freeze).double()


def assignments(scores, rows):
    """Sinkhorn-Knopp of the rows that take part, in the plain domain; the others are zero."""
    q = (scores[rows].detach() / EPSILON).exp()
    for _ in range(ITERATIONS):
        q = q / q.sum(0, keepdim=True)
        q = q / q.sum(1, keepdim=True)
    out = torch.zeros_like(scores)
    out[rows] = q
    return out


def by_the_formula(objective, b):
    losses = {}
    for row, name in enumerate(STREAMS):
        z = b.streams[name].unflatten(0, (VIDEOS, b.views))
        some = z.detach().abs().amax(-1) > 0
        scores = normalize(z, dim=-1) @ objective.prototypes[row].T
        log_p = (scores / TAU).log_softmax(-1)
        terms = []
        for k in range(min(2, b.views)):
            q = assignments(scores[:, k], some[:, k].nonzero()[:, 0])
            for j in range(b.views):
                terms += [
                    -(q[i] * log_p[i, j]).sum() for i in range(VIDEOS) if j != k and some[i, j] and some[i, k]
                ]
        losses[name] = torch.stack(terms).mean()
    return losses


@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("empty", [(), ((0, 1), (2, 0), (3, 0))])
def test_equals_the_formula_pair_by_pair(views, empty):
    objective, b = swav(), batch(views, empty=empty, targets=False)
    got, want = objective(b), by_the_formula(objective, b)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradients(got, b.streams), gradients(want, b.streams), rtol=1e-8, atol=1e-12)
    found, wanted = (torch.autograd.grad(sum(x.values()), objective.prototypes)[0] for x in (got, want))
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-12)


def test_prototypes_are_unit_vectors_at_the_start_and_after_every_step():
    objective = swav()
    ones = torch.ones(2, PROTOTYPES, dtype=torch.float64)
    torch.testing.assert_close(objective.prototypes.norm(dim=-1), ones, rtol=0, atol=1e-6)
    with torch.no_grad():
        objective.prototypes.add_(0.3 * torch.randn_like(objective.prototypes))
    objective.after_step([], 0.5, torch.tensor(True))
    torch.testing.assert_close(objective.prototypes.norm(dim=-1), ones, rtol=0, atol=1e-12)


def test_prototypes_are_frozen_in_the_first_share_of_the_run():
    objective, b = swav(freeze=0.25), batch(2, targets=False)
    found = []
    for step in range(8):
        loss = sum(objective(b).values())
        found.append(bool(torch.autograd.grad(loss, objective.prototypes)[0].abs().max() > 0))
        objective.after_step([], (step + 1) / 8, torch.tensor(True))
    assert found == [False, False] + 6 * [True]
    other = swav(freeze=0.25)
    other.load_state_dict(objective.state_dict())
    assert not other.frozen, "a resumed run goes on where it was"
