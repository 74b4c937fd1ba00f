"""Norms of tensors of which this rank holds a part."""

from __future__ import annotations

import torch

from bodvcl.config.schema import OptimConfig
from bodvcl.optim import norms
from bodvcl.optim.factory import make_optimizer


def test_the_norm_of_a_part_is_that_of_the_whole(monkeypatch):
    weight, bias, gradients = torch.randn(6, 4), torch.randn(5), [torch.randn(6, 4), torch.randn(5)]
    parts = [[weight[:3], bias], [weight[3:], bias]]
    for tensors in ([weight, bias], gradients):
        own, others = ([tensors[0][rows], tensors[1]] for rows in (slice(3), slice(3, None)))
        squares = torch.stack([t.double().square().sum() for t in others])
        monkeypatch.setattr(norms, "sum_over_ranks", lambda x, squares=squares: x + squares)
        found = norms.NormsOverRanks(parts[0][:1])(own, parts[0])
        assert torch.allclose(found, torch.stack([t.norm() for t in tensors]))


def test_only_where_weights_are_cut_ranks_talk(monkeypatch):
    asked = []
    monkeypatch.setattr(norms, "sum_over_ranks", lambda x: asked.append(len(x)) or x)
    for name in ("lars", "lamb"):
        for cut in (False, True):
            asked.clear()
            p = torch.nn.Parameter(torch.randn(3, 4))
            optimizer = make_optimizer([p], OptimConfig(name=name), 0.1, True, [p] if cut else [])
            p.grad = torch.randn(3, 4)
            optimizer.step()
            assert asked == ([1, 1] if cut else [])
