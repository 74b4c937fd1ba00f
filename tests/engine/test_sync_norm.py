"""Batch normalisation over ranks, here with one: it must be batch normalisation, twice differentiable."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn

from bodvcl.config.schema import ModelConfig, TrainConfig
from bodvcl.engine.assemble import build_learner, synchronises_norms
from bodvcl.engine.sync_norm import RankBatchNorm, synchronise_norms
from bodvcl.models.encoder import build_encoder


@pytest.fixture
def process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def pair(dtype=torch.float64, momentum=0.1):
    torch.manual_seed(0)
    plain = nn.BatchNorm3d(3, momentum=momentum, dtype=dtype)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    ranks = RankBatchNorm(3, momentum=momentum, dtype=dtype)
    ranks.load_state_dict(plain.state_dict())
    return plain, ranks


@pytest.mark.parametrize("momentum", [0.1, None])
def test_it_is_batch_normalisation(process_group, momentum):
    plain, ranks = pair(momentum=momentum)
    for _ in range(3):
        x = torch.randn(4, 3, 2, 5, 5, dtype=torch.float64)
        inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
        outputs = [plain(inputs[0]), ranks(inputs[1])]
        torch.testing.assert_close(*outputs)
        weight = torch.randn_like(x)
        gradients = [
            torch.autograd.grad((weight * out).sum(), [i, m.weight, m.bias])
            for out, i, m in zip(outputs, inputs, (plain, ranks))
        ]
        for a, b in zip(*gradients):
            torch.testing.assert_close(a, b)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(dict(ranks.named_buffers())[name], buffer, msg=name)
    torch.testing.assert_close(ranks.eval()(x), plain.eval()(x))


def test_it_can_be_differentiated_twice(process_group):
    _, ranks = pair()
    x = torch.randn(3, 3, 2, 1, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, w: _with(ranks, w)(x), (x, ranks.weight))


def test_its_gradient_is_the_same_when_compiled(process_group):
    _, ranks = pair()
    x, weight = torch.randn(2, 4, 3, 2, 5, 5, dtype=torch.float64)
    x.requires_grad_()
    want = torch.autograd.grad((weight * ranks(x)).sum(), x)
    compiled = torch.compile(ranks, backend="aot_eager")
    torch.testing.assert_close(torch.autograd.grad((weight * compiled(x)).sum(), x), want)


def _with(norm, weight):
    made = RankBatchNorm(3, dtype=torch.float64, track_running_stats=False)
    del made.weight
    made.weight = weight
    made.bias = norm.bias
    return made


def test_half_precision_is_normalised_in_float32(process_group):
    plain, ranks = pair(torch.float32)
    x = (100 + torch.randn(8, 3, 2, 4, 4)).to(torch.bfloat16)
    got = ranks(x)
    assert got.dtype == torch.bfloat16
    want = plain(x.float())
    torch.testing.assert_close(got.float(), want, rtol=2**-8, atol=2**-8 * want.abs().max().item())


@pytest.mark.parametrize(("plain", "kind"), [(True, RankBatchNorm), (False, nn.SyncBatchNorm)])
def test_all_norms_are_replaced_and_nothing_else_changes(plain, kind):
    encoder = build_encoder(ModelConfig(width=4, projector_norm=True))
    before = {name: t.clone() for name, t in encoder.state_dict().items()}
    parameters = dict(encoder.named_parameters())
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm3d)]
    synchronise_norms(encoder, plain)
    assert sum(type(m) is kind for m in encoder.modules()) == len(norms) == 5
    assert not any(type(m) in (nn.BatchNorm1d, nn.BatchNorm3d) for m in encoder.modules())
    assert all(encoder.get_parameter(name) is p for name, p in parameters.items())
    assert encoder.state_dict().keys() == before.keys()
    for name, t in encoder.state_dict().items():
        assert torch.equal(t, before[name])


@pytest.mark.parametrize(
    ("method", "sync_norm", "shuffles"),
    [("moco", None, True), ("moco", False, True), ("moco", True, False), ("byol", None, False)],
)
def test_moco_shuffles_clips_unless_statistics_are_those_of_all_ranks(method, sync_norm, shuffles):
    config = TrainConfig(method=method, sync_norm=sync_norm, model=ModelConfig(width=4))
    assert (build_learner(config).shuffle is not None) == shuffles
    assert synchronises_norms(config) == (not shuffles)
