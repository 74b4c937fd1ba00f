"""A state that was saved with another memory layout continues as it should."""

from __future__ import annotations

import copy

import pytest
import torch

from bodvcl.config.schema import OptimConfig
from bodvcl.optim.factory import make_optimizer
from bodvcl.optim.layout import laid_out

SHAPE = (4, 3, 2, 3, 3)


def step(optimizer, p, seed):
    p.grad = torch.empty_like(p).copy_(torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)))
    optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw", "lamb"])
@pytest.mark.parametrize(
    "layouts",
    [
        (torch.contiguous_format, torch.channels_last_3d),
        (torch.channels_last_3d, torch.contiguous_format),
    ],
    ids=["to channels-last", "from channels-last"],
)
def test_momentum_stays_with_its_weight(name, layouts):
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    first, then = (torch.nn.Parameter(start.clone(memory_format=layout)) for layout in layouts)
    one, other = (make_optimizer([p], OptimConfig(name=name), 0.1, fast=True) for p in (first, then))
    step(one, first, 1)
    with torch.no_grad():
        then.copy_(first)
    other.load_state_dict(laid_out(copy.deepcopy(one.state_dict()), other))
    step(one, first, 2)
    step(other, then, 2)
    assert torch.allclose(first, then, atol=1e-6)
