from __future__ import annotations

import math

import pytest
import torch
from networks import FRAMES, VIDEOS, clips, config, ids, network
from torch.nn.functional import normalize

from bodvcl.engine.assemble import objective_options
from bodvcl.objectives.build import build_objective
from bodvcl.objectives.dualvar import RANK_LIMIT, put_back, random_order, shuffled

S, TAU, THETA = 4, 0.07, 0.05


def vectors(encoder, objective, x):
    """Clip embeddings and segment vectors, from the features' temporal mean."""
    h = encoder.frames(x).mean(1)
    return encoder.project(h), normalize(objective.series(h).unflatten(-1, (S, -1)), dim=-1)


def info_nce(similarity, videos):
    """Mean over anchors of Eq. 1 for a matrix of similarities already divided by the temperature."""
    n, terms = len(videos), []
    for i in range(n):
        positive = sum(similarity[i, j].exp() for j in range(n) if j != i and videos[j] == videos[i])
        total = sum(similarity[i, j].exp() for j in range(n) if j != i)
        terms.append(-(positive / total).log())
    return torch.stack(terms).mean()


def rank_loss(u, v):
    terms = []
    for i in range(VIDEOS):
        both = torch.cat([u[i], v[i]])
        for r in range(2 * S):
            partner = (r + S) % (2 * S)
            for k in range(2 * S):
                if k not in (r, partner):
                    excess = (both[r] @ both[k] - both[r] @ both[partner]) / THETA
                    terms.append(excess.clamp(max=RANK_LIMIT).exp().log1p())
    return torch.stack(terms).mean()


def test_equals_its_three_formulas():
    encoder, objective = network("dualvar")
    x, videos = clips(), ids()
    torch.manual_seed(5)
    losses, z = objective(encoder, x, videos, 3)
    torch.manual_seed(5)
    order = random_order(VIDEOS, S, x.device)
    want_z, u = vectors(encoder, objective, x)
    torch.testing.assert_close(z, want_z)

    two = [row for row in range(len(x)) if row % 3 < 2]
    unit = normalize(want_z[two], dim=-1)
    torch.testing.assert_close(losses["clip"], info_nce(unit @ unit.T / TAU, videos[two]))
    mean_pair = torch.einsum("ipe,jqe->ij", u[two], u[two]) / S**2
    torch.testing.assert_close(losses["coherent"], info_nce(mean_pair / TAU, videos[two]))

    length = FRAMES // S
    parts = [
        torch.cat([x[3 * i + 2][:, p * length : (p + 1) * length] for p in order[i].tolist()], 1)
        for i in range(VIDEOS)
    ]
    found = vectors(encoder, objective, torch.stack(parts))[1]
    restored = torch.empty_like(found)
    for i in range(VIDEOS):
        for place, p in enumerate(order[i].tolist()):
            restored[i, p] = found[i, place]
    want = (rank_loss(u[0::3], restored) + rank_loss(u[2::3], restored)) / 2
    torch.testing.assert_close(losses["rank"], want)
    assert all(p.grad is None for p in encoder.parameters())
    sum(losses.values()).backward()
    for module in (encoder, objective):
        for name, p in module.named_parameters():
            assert p.grad is not None, name
            assert p.grad.abs().max() > 0, name


@pytest.mark.parametrize("segments", [2, 4, 8])
def test_segments_that_are_shuffled_are_put_back(segments):
    x = clips()[:VIDEOS]
    order = random_order(VIDEOS, segments, x.device)
    assert (order.sort(-1).values == torch.arange(segments)).all()
    means = shuffled(x, order).unflatten(2, (segments, -1)).mean((1, 3, 4, 5))[..., None]
    want = x.unflatten(2, (segments, -1)).mean((1, 3, 4, 5))[..., None]
    torch.testing.assert_close(put_back(means, order), want)


def test_one_segment_like_all_others_costs_log_two():
    objective = build_objective(
        "dualvar", objective_options(config("dualvar")), network("dualvar")[0]
    ).double()
    same = normalize(torch.ones(VIDEOS, S, 5, dtype=torch.float64), dim=-1)
    assert objective._rank(same, same).item() == pytest.approx(math.log(2))
    apart = torch.eye(S, dtype=torch.float64).expand(VIDEOS, S, S)
    assert objective._rank(apart, apart).item() == pytest.approx(math.log1p(math.exp(-1 / THETA)))
