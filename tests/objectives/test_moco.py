from __future__ import annotations

import pytest
import torch
from batches import DIM, STREAMS, VIDEOS, batch, cosine, gradients

from bodvcl.objectives.moco import MoCo
from bodvcl.objectives.queue import KeyQueue

TAU = 0.2


def moco(queue=24, filled=True):
    objective = MoCo(STREAMS, DIM, TAU, queue, 0.99).double()
    if filled:
        g = torch.Generator().manual_seed(3)
        keys = torch.randn(2, queue, DIM, generator=g, dtype=torch.float64)
        objective.queue.enqueue(keys, torch.tensor(True))
    return objective


def by_the_formula(objective, b):
    """Eq. 1 anchor by anchor: positives from the momentum encoder, negatives from the queue."""
    losses = {}
    for row, name in enumerate(STREAMS):
        z, keys = (x[name].unflatten(0, (VIDEOS, b.views)) for x in (b.streams, b.targets))
        terms = []
        for i in range(VIDEOS):
            for j in range(b.views):
                others = [keys[i, k] for k in range(b.views) if k != j and keys[i, k].abs().max() > 0]
                if z[i, j].abs().max() == 0 or not others:
                    continue
                positive = sum((cosine(z[i, j], k) / TAU).exp() for k in others)
                queue = [k for k in objective.queue.keys[row] if k.abs().max() > 0]
                negative = sum((cosine(z[i, j], k) / TAU).exp() for k in queue)
                terms.append(-(positive / (positive + negative)).log())
        losses[name] = torch.stack(terms).mean()
    return losses


@pytest.mark.parametrize("views", [2, 3])
def test_equals_the_formula_anchor_by_anchor(views):
    objective, b = moco(), batch(views)
    got, want = objective(b), by_the_formula(objective, b)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradients(got, b.streams), gradients(want, b.streams), rtol=1e-8, atol=1e-12)


def test_empty_streams_contribute_nothing_as_query_or_key():
    objective = moco()
    b = batch(3, empty=((0, 1), (2, 0)), empty_targets=((1, 0), (3, 1), (3, 2)))
    got, want = objective(b), by_the_formula(objective, b)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
    grad = gradients(got, b.streams)[0]
    assert torch.isfinite(grad).all()
    assert grad[1].abs().max() == 0
    assert grad[9].abs().max() == 0, "clip 0 of video 3 has no key left"
    assert grad[10].abs().max() > 0


def test_a_filling_queue_counts_only_what_is_in_it():
    objective, b = moco(queue=16, filled=False), batch(2)
    assert all(loss == 0 for loss in objective(b).values()), "no negatives yet"
    objective.after_step([b.targets], 0.1, torch.tensor(True))
    assert objective.diagnostics()["queue_filled"] == 0.5
    torch.testing.assert_close(objective(b), by_the_formula(objective, b), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sizes", [[4, 4, 4, 4, 4], [4, 3, 4, 1, 4], [8, 8], [2, 13, 3]])
def test_the_queue_holds_the_newest_keys(sizes):
    queue = KeyQueue(2, 8, DIM)
    g = torch.Generator().manual_seed(0)
    seen = torch.zeros(2, 0, DIM)
    for size in sizes:
        keys = torch.randn(2, size, DIM, generator=g)
        queue.enqueue(keys, torch.tensor(True))
        seen = torch.cat([seen, keys / keys.norm(dim=-1, keepdim=True)], 1)[:, -8:]
        held = queue.keys[:, queue.keys[0].abs().amax(-1) > 0]
        assert queue.filled() == held.shape[1] / 8 == min(1.0, int(queue.count) / 8)
        for stream in range(2):
            order = [sorted(map(tuple, x[stream].tolist())) for x in (held, seen)]
            torch.testing.assert_close(torch.tensor(order[0]), torch.tensor(order[1]))


def test_every_stream_has_its_own_queue_and_a_checkpoint_keeps_it():
    objective, b = moco(queue=8, filled=False), batch(2)
    objective.after_step([b.targets], 0.1, torch.tensor(True))
    for row, name in enumerate(STREAMS):
        want = b.targets[name] / b.targets[name].norm(dim=-1, keepdim=True)
        torch.testing.assert_close(objective.queue.keys[row], want)
    other = moco(queue=8, filled=False)
    other.load_state_dict(objective.state_dict())
    other.after_step([b.targets], 0.2, torch.tensor(True))
    assert int(other.queue.count) == 16
    assert not list(objective.parameters()), "the queue is nothing to train"
