"""Numbers that are put on a device once."""

from __future__ import annotations

import torch

from bodvcl.ops.constants import constant, where


def test_a_constant_is_made_once_for_each_dtype():
    device = torch.device("cpu")
    one = constant((0.0, 2.5), torch.float64, device)
    assert one.tolist() == [0.0, 2.5]
    assert constant((0.0, 2.5), torch.float64, device) is one
    assert constant((0.0, 2.5), torch.float32, device).dtype == torch.float32


def test_a_constant_that_was_made_in_inference_mode_can_be_saved_for_a_gradient():
    with torch.inference_mode():
        factor = constant((4.25,), torch.float32, torch.device("cpu"))
    x = torch.ones(1, requires_grad=True)
    (x * factor).sum().backward()
    assert x.grad is not None
    assert x.grad.item() == 4.25


def test_where_is_that_of_pytorch_with_its_gradient():
    x = torch.tensor([1.0, torch.nan, 3.0, torch.inf], requires_grad=True)
    keep = torch.tensor([True, False, True, False])
    for number in (0.0, 1.0, torch.nan, -torch.inf):
        mine, pytorch = where(keep, x, number), torch.where(keep, x, number)
        assert mine.dtype == pytorch.dtype
        assert torch.equal(mine.nan_to_num(7.0), pytorch.nan_to_num(7.0))
        grads = [torch.autograd.grad(y, x, torch.ones(4))[0] for y in (mine, pytorch)]
        assert torch.equal(*grads)
