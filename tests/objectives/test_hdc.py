from __future__ import annotations

import pytest
import torch
from networks import VIDEOS, clips, ids, network
from torch.nn.functional import normalize

from bodvcl.objectives.hdc import AVERAGING, SMALLEST

TAU, DEPTHS = 0.1, 3


def unit_embeddings(encoder, objective, x):
    """(task, depth) to unit embeddings."""
    features = [s.mean(1) for s in encoder.backbone.stages(x)[-DEPTHS:]]
    spatial = [*objective.spatial, encoder.projector]
    return {
        (task, depth): normalize(heads[depth](features[depth]), dim=-1)
        for task, heads in (("spatial", spatial), ("temporal", objective.temporal))
        for depth in range(DEPTHS)
    }


def relation(task, i, j, views):
    """ "positive", "negative" or None (not compared), of rows i and j."""
    same_video = i // views == j // views
    same_frames = same_video and {i % views, j % views} == {0, views - 1}
    if i == j:
        return None
    if task == "spatial":
        return None if same_frames else "positive" if same_video else "negative"
    return "positive" if same_frames else "negative"


def by_the_formula(u, task, views):
    terms = []
    for i in range(len(u)):
        groups = {"positive": [], "negative": [], None: []}
        for j in range(len(u)):
            groups[relation(task, i, j, views)].append((u[i] @ u[j] / TAU).exp())
        if groups["positive"]:
            positive = sum(groups["positive"])
            terms.append(-(positive / (positive + sum(groups["negative"]))).log())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("views", [3, 4])
def test_equals_the_formula_with_the_weights_of_the_measured_invariance(views):
    encoder, objective = network("hdc", views)
    x, videos = clips(views), ids(views)
    objective.invariance.copy_(torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.2, 0.4]]))
    weights = {"spatial": [0.2, 0.3, 0.5], "temporal": [0.5, 1 / 6, 1 / 3]}
    losses, z = objective(encoder, x, videos, views)
    u = unit_embeddings(encoder, objective, x)
    for task in ("spatial", "temporal"):
        want = sum(weights[task][d] * by_the_formula(u[task, d], task, views) for d in range(DEPTHS))
        torch.testing.assert_close(losses[task], want, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(normalize(z, dim=-1), u["spatial", DEPTHS - 1])
    sum(losses.values()).backward()
    for module in (encoder, objective):
        for name, p in module.named_parameters():
            assert p.grad is not None, name
            assert p.grad.abs().max() > 0, name


def test_the_invariance_is_averaged_and_takes_no_part_in_the_gradient():
    encoder, objective = network("hdc")
    x, videos = clips(), ids()
    objective(encoder, x, videos, 3)
    assert (objective.invariance == 1).all(), "a pass alone moves nothing"
    objective.after_step([], 0.1, torch.tensor(True))
    u = unit_embeddings(encoder, objective, x)
    for row, task in enumerate(("spatial", "temporal")):
        for depth in range(DEPTHS):
            e = u[task, depth].detach()
            cosines = [
                e[i] @ e[j]
                for i in range(len(e))
                for j in range(len(e))
                if relation(task, i, j, 3) == "positive"
            ]
            measured = torch.stack(cosines).mean() - (e @ e.T).mean()
            want = AVERAGING + (1 - AVERAGING) * max(measured.item(), SMALLEST)
            assert objective.invariance[row, depth].item() == pytest.approx(want, abs=1e-9)
    assert not objective.invariance.requires_grad
    shown = objective.diagnostics()
    assert sum(v.item() for k, v in shown.items() if k.startswith("weight_spatial")) == pytest.approx(1)
    assert len(shown) == 2 * DEPTHS


def test_a_collapsed_depth_keeps_the_smallest_invariance():
    _, objective = network("hdc")
    rows = torch.arange(3 * VIDEOS)
    z = torch.ones(2, DEPTHS, 3 * VIDEOS, 6, dtype=torch.float64)
    objective._measure(z, ids(), rows // 3 * 3 + rows % 3 % 2, rows)
    torch.testing.assert_close(objective.measured, torch.full_like(objective.measured, SMALLEST))
