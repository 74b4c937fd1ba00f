"""Which part of a classifier trains, at which rate, and what happens to its batch norms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bodvcl.config.schema import ModelConfig
from bodvcl.errors import ConfigError
from bodvcl.finetune.network import VideoClassifier, trained_parts
from bodvcl.models.backbones.build import BACKBONES, build_backbone

PARTS = {"tiny": 4, "slow_r50": 5, "s3d": 4, "s3d_g": 4, "vit_b16": 13}
FIRST_NAMES = {
    "tiny": "layers.0.", "slow_r50": "stem.", "r3d_18": "stem.", "r3d_18_thin": "stem.",
    "r2plus1d_18": "stem.", "r2plus1d_18_thin": "stem.", "s3d": "features.0.", "s3d_g": "features.0.",
    "vit_b16": "tubelets.",
}  # fmt: skip
LAST_NAMES = {
    "tiny": ("layers.3.",), "slow_r50": ("res5.",), "s3d": ("features.13.", "features.14.", "features.15."),
    "s3d_g": ("features.13.", "features.14.", "features.15."),
    "vit_b16": ("blocks.encoder_layer_11.", "norm."),
}  # fmt: skip


def backbone(name):
    with torch.device("meta"):
        return build_backbone(ModelConfig(backbone=name))


def names_in(network, groups):
    chosen = {id(p) for group in groups for p in group.parameters}
    return {name for name, p in network.named_parameters() if id(p) in chosen}


@pytest.mark.parametrize("name", BACKBONES)
def test_parts_hold_everything_once_from_input_to_output(name):
    net = backbone(name)
    parts = net.parts()
    assert len(parts) == PARTS.get(name, 5)
    held = [id(t) for part in parts for module in part for t in (*module.parameters(), *module.buffers())]
    assert sorted(held) == sorted(id(t) for t in (*net.parameters(), *net.buffers()))
    first = {id(p) for module in parts[0] for p in module.parameters()}
    assert all(n.startswith(FIRST_NAMES[name]) or name.startswith("s3d") for n, p in net.named_parameters()
               if id(p) in first)  # fmt: skip


@pytest.mark.parametrize("name", BACKBONES)
def test_last_1_is_the_last_stage_and_the_head(name):
    net = VideoClassifier(backbone(name), 3, 0.0, trained_parts("last-1", backbone(name)))
    prefixes = tuple(f"backbone.{p}" for p in LAST_NAMES.get(name, ("layer4.",)))
    expected = {n for n, _ in net.named_parameters() if n.startswith((*prefixes, "head."))}
    assert names_in(net, net.groups()) == expected
    assert any(n.startswith("backbone.") for n in expected)


def test_all_and_head():
    net = VideoClassifier(backbone("slow_r50"), 3, 0.0, trained_parts("all", backbone("slow_r50")))
    assert names_in(net, net.groups()) == {n for n, _ in net.named_parameters()}
    head = VideoClassifier(backbone("slow_r50"), 3, 0.0, trained_parts("head", backbone("slow_r50")))
    assert names_in(head, head.groups()) == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("tune", "said"),
    [
        ("last-0", "tiny has 4 parts: use last-1 to last-4, or head"),
        ("last-5", "tiny has 4 parts"),
        ("most", "expected all, head or last-K"),
        ("last-", "expected all, head or last-K"),
    ],
)
def test_other_parts_are_refused(tune, said):
    with pytest.raises(ConfigError, match=said):
        trained_parts(tune, backbone("tiny"))


def test_layer_decay_counts_from_the_head():
    """As in BEiT: the head has the rate itself, the last block d, the first part d to the number of parts."""
    net = VideoClassifier(backbone("vit_b16"), 3, 0.0, 13)
    groups = net.groups(0.75)
    assert [group.scale for group in groups] == [0.75**depth for depth in range(14)]
    assert names_in(net, groups[-1:]) == {"backbone.tubelets.weight", "backbone.tubelets.bias"}
    assert names_in(net, groups[:1]) == {"head.weight", "head.bias"}
    assert {group.scale for group in net.groups()} == {1.0}


def norms(network):
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.BatchNorm3d)}


@pytest.mark.parametrize(("frozen_norm", "moves"), [("fixed", False), ("updated", True)])
def test_batch_norms_of_what_is_frozen(frozen_norm, moves):
    net = VideoClassifier(build_backbone(ModelConfig(width=4)), 2, 0.0, 1, frozen_norm).train()
    before = {n: m.running_mean.clone() for n, m in norms(net).items()}
    net(torch.randn(4, 3, 4, 16, 16))
    for name, norm in norms(net).items():
        is_last = name.startswith("backbone.layers.3")
        assert norm.training is (is_last or moves), name
        assert torch.equal(norm.running_mean, before[name]) is not (is_last or moves), name
    net.eval()
    assert not any(m.training for m in net.modules())


def test_logits_are_those_of_the_mean_feature():
    net = VideoClassifier(build_backbone(ModelConfig(width=4)), 5, 0.5, 4).eval()
    clips = torch.randn(2, 3, 4, 16, 16)
    maps = net.backbone.maps(clips)[-1]
    torch.testing.assert_close(net(clips), maps.mean((2, 3, 4)) @ net.head.weight.T + net.head.bias)
    assert net(clips).dtype == torch.float32
    both = VideoClassifier(net.backbone, 5, 0.0, 4, pooling="mean_std").eval()
    frames = maps.mean((3, 4)).transpose(1, 2)
    pooled = torch.cat([frames.mean(1), frames.std(1, correction=0)], 1)
    torch.testing.assert_close(both(clips), pooled @ both.head.weight.T + both.head.bias)


def test_pooled_features_are_standardised_before_the_linear_layer():
    """Over the batch in training, and with the running statistics of the training in the test."""
    backbone = build_backbone(ModelConfig(width=4)).eval()
    net = VideoClassifier(backbone, 3, 0.0, 0, head_norm=True).train()
    clips = torch.rand(6, 3, 4, 16, 16)
    pooled = backbone(clips).mean(1)
    mean, var = pooled.mean(0), pooled.var(0, correction=0)
    want = net.head((pooled - mean) / (var + 1e-5).sqrt())
    torch.testing.assert_close(net(clips), want, rtol=1e-3, atol=1e-4)
    net.eval()
    running = (0.1 * mean, 0.9 + 0.1 * pooled.var(0))
    want = net.head((pooled - running[0]) / (running[1] + 1e-5).sqrt())
    torch.testing.assert_close(net(clips), want, rtol=1e-3, atol=1e-4)
    plain = VideoClassifier(backbone, 3, 0.0, 0)
    assert dict(net.named_parameters()).keys() == dict(plain.named_parameters()).keys()
