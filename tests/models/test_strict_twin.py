from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from bodvcl.config.schema import KoopmanConfig, ModelConfig, PredictionConfig
from bodvcl.models.backbones.build import build_backbone
from bodvcl.models.backbones.vit import TubeletViT
from bodvcl.models.encoder import build_encoder
from bodvcl.models.streams import prediction_loss
from bodvcl.models.strict import central_slice, strict_twin

CONFIGS = {
    "tiny": ModelConfig(width=4),
    "tiny, zero": ModelConfig(width=4, temporal_padding="zero"),
    "r2plus1d_18_thin": ModelConfig(backbone="r2plus1d_18_thin"),
    "s3d_g": ModelConfig(backbone="s3d_g", temporal_padding="zero"),
    "slow_r50": ModelConfig(backbone="slow_r50"),
}


def parts(config, build=build_backbone):
    torch.manual_seed(0)
    network = build(config).double().eval()
    twin = strict_twin(network)
    params = {k: p.detach().clone().requires_grad_() for k, p in network.named_parameters()}
    buffers = {k: b.clone() for k, b in network.named_buffers()}
    return network, twin, params, buffers


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_network_on_a_still_clip_when_off_centre_slices_are_zero(name):
    network, twin, params, buffers = parts(CONFIGS[name])
    with torch.no_grad():
        for p in params.values():
            if p.ndim == 5:
                centre = p.shape[2] // 2
                p[:, :, :centre] = 0
                p[:, :, centre + 1 :] = 0
        clip = torch.randn(2, 3, 1, 32, 32, dtype=torch.float64).expand(-1, -1, 4, -1, -1)
        expected = functional_call(network, (params, buffers), (clip,))
        actual = functional_call(twin, (central_slice(params, network), buffers), (clip,))
    assert expected.abs().max() > 0
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_frame_sees_another_and_off_centre_slices_get_no_gradient(name):
    network, twin, params, buffers = parts(CONFIGS[name])
    clips = torch.randn(1, 3, 5, 32, 32, dtype=torch.float64)
    features = functional_call(twin, (central_slice(params, network), buffers), (clips,))
    assert features.shape == (1, 5, network.dim)
    with torch.no_grad():
        other = clips.clone()
        other[:, :, 2] += 1
        changed = functional_call(twin, (central_slice(params, network), buffers), (other,))
    assert torch.equal(changed[:, [0, 1, 3, 4]], features[:, [0, 1, 3, 4]])
    assert (changed[:, 2] - features[:, 2]).abs().max() > 1e-6
    (features * torch.randn_like(features)).sum().backward()
    for p in params.values():
        assert p.grad.abs().max() > 0
        if p.ndim == 5 and p.shape[2] > 1:
            grad = p.grad.clone()
            grad[:, :, p.shape[2] // 2] = 0
            assert grad.abs().max() == 0


def test_the_twin_owns_nothing_and_leaves_the_network_alone():
    network, twin, params, buffers = parts(CONFIGS["s3d_g"])
    assert {t.device.type for t in (*twin.parameters(), *twin.buffers())} == {"meta"}
    assert all(torch.equal(p, params[k]) for k, p in network.named_parameters())
    assert network.features[0][1][0].kernel_size == (7, 1, 1)
    clips = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    twin.train()
    functional_call(twin, (central_slice(params, network), buffers), (clips,))
    moved = [k for k, b in network.named_buffers() if not torch.equal(b, buffers[k])]
    assert moved == [k for k, _ in network.named_buffers()]


def test_l_pred_of_an_encoder_by_finite_differences():
    encoder, twin, params, buffers = parts(ModelConfig(width=4, hidden_dim=8, embed_dim=6), build_encoder)
    clips = torch.randn(2, 3, 4, 16, 16, dtype=torch.float64)

    def loss(values):
        embeddings = functional_call(twin, (central_slice(values, encoder), buffers), (clips,))
        return prediction_loss(embeddings, KoopmanConfig(), PredictionConfig(), fast=False)

    key = "backbone.layers.2.0.weight"
    (gradient,) = torch.autograd.grad(loss(params), params[key])
    direction = torch.randn_like(gradient)
    with torch.no_grad():
        ahead, behind = (loss(params | {key: params[key] + s * direction}) for s in (1e-6, -1e-6))
    torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-10)


def test_attention_is_refused():
    with pytest.raises(ValueError, match="attention mixes all frames and has none"):
        strict_twin(TubeletViT(dim=48, depth=4, heads=4, size=32))
