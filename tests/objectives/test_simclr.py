from __future__ import annotations

import pytest
import torch

from bodvcl.objectives.base import ObjectiveInput
from bodvcl.objectives.simclr import SimCLR
from bodvcl.ops.contrastive import info_nce
from bodvcl.reference.contrastive import info_nce as reference_info_nce


def clips(videos=5, views=2, dim=6, seed=0, grad=False):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(videos, views, dim, generator=g, dtype=torch.float64).requires_grad_(grad)


def ids(videos, views):
    return torch.arange(videos).repeat_interleave(views)


def simclr(streams, videos, views, tau=0.1):
    return SimCLR(tau)(ObjectiveInput(streams, ids(videos, views), views))


@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("tau", [0.07, 0.1, 1.0])
def test_equals_the_paper_term_by_term(views, tau):
    z = clips(views=views, grad=True)
    got = simclr({"video": z.flatten(0, 1)}, 5, views, tau)["video"]
    want = reference_info_nce(z, tau)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(got, z)[0], torch.autograd.grad(want, z)[0], rtol=1e-9, atol=1e-12
    )


def test_streams_do_not_mix():
    a, b = clips(seed=1), clips(seed=2)
    losses = simclr({"static": a.flatten(0, 1), "dynamic": b.flatten(0, 1)}, 5, 2)
    torch.testing.assert_close(losses["static"], reference_info_nce(a))
    torch.testing.assert_close(losses["dynamic"], reference_info_nce(b))


def test_empty_stream_rows_contribute_nothing_and_get_no_gradient():
    z = clips(views=3)
    z[1, 0] = 0
    z[2, :] = 0
    z.requires_grad_()
    loss = simclr({"static": z.flatten(0, 1)}, 5, 3)["static"]
    torch.testing.assert_close(loss, reference_info_nce(z))
    (grad,) = torch.autograd.grad(loss, z)
    assert torch.isfinite(grad).all()
    assert grad[1, 0].abs().max() == 0
    assert grad[2].abs().max() == 0
    assert grad[0].abs().max() > 0


def test_all_rows_empty_is_zero():
    z = torch.zeros(8, 4, requires_grad=True)
    loss = simclr({"static": z}, 4, 2)["static"]
    assert loss == 0
    assert torch.autograd.grad(loss, z)[0].abs().max() == 0


def test_value_for_identical_embeddings_is_log_of_keys_over_positives():
    z = torch.ones(6, 3, 4).flatten(0, 1)
    loss = simclr({"video": z}, 6, 3)["video"]
    assert loss.item() == pytest.approx(torch.log(torch.tensor(17 / 2)).item(), abs=1e-5)


def test_no_overflow_at_a_low_temperature():
    z = torch.randn(16, 8)
    loss = simclr({"video": z}, 8, 2, 1e-3)["video"]
    assert torch.isfinite(loss)


def test_bfloat16_rows_are_compared_in_float32():
    z = torch.randn(16, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    loss = simclr({"video": z}, 8, 2)["video"]
    assert loss.dtype == torch.float32
    want = reference_info_nce(z.double().unflatten(0, (8, 2)))
    assert loss.item() == pytest.approx(want.item(), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; expected a positive"),
        ({"query_video": torch.arange(3)}, "query_video is .*; expected 4 integers"),
        ({"key_video": torch.zeros(4)}, "key_video is .*; expected 4 integers"),
        ({"query_clip": torch.arange(4)}, "both query_clip and key_clip"),
        ({"valid": torch.ones(1, 3, dtype=torch.bool)}, r"expected torch\.bool \(1, 4\)"),
        ({"keys": torch.randn(1, 4, 9)}, r"expected \(H, N, D\) and \(H, K, D\)"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {
        "query": torch.randn(1, 4, 8),
        "keys": torch.randn(1, 4, 8),
        "query_video": torch.arange(4),
        "key_video": torch.arange(4),
    }
    with pytest.raises(ValueError, match=message):
        info_nce(**(arguments | change))


def test_reductions_agree():
    z = clips().flatten(0, 1)[None]
    options = {
        "query_video": ids(5, 2),
        "key_video": ids(5, 2),
        "query_clip": torch.arange(10),
        "key_clip": torch.arange(10),
    }
    rows = info_nce(z, z, reduction="none", **options)
    assert rows.shape == (1, 10)
    torch.testing.assert_close(info_nce(z, z, reduction="sum", **options), rows.sum(-1))
    torch.testing.assert_close(info_nce(z, z, **options), rows.mean(-1))
