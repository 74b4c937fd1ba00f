from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_weight

from bodvcl.config.backbones import GEOMETRY
from bodvcl.config.schema import ModelConfig
from bodvcl.models.backbones.build import BACKBONES, build_backbone
from bodvcl.models.backbones.vit import TubeletViT, attention_route, position_code
from bodvcl.models.layout import parameter_count

CONVOLUTIONAL = [name for name in GEOMETRY if name != "vit_b16"]
SMALL_VIT = {"dim": 48, "depth": 4, "heads": 4, "size": 32}


def on_meta(name):
    with torch.device("meta"):
        return build_backbone(ModelConfig(backbone=name))


def classifier(name):
    """Parameters of the 400-way classifier that a published count includes."""
    return {"slow_r50": 2048, "r3d_18": 512, "r2plus1d_18": 512, "s3d": 1024}[name] * 400 + 400


@pytest.mark.parametrize("name", ["r3d_18", "r2plus1d_18", "s3d"])
def test_parameter_counts_of_torchvision_s_networks(name):
    published = get_weight(f"{GEOMETRY[name].weights}.KINETICS400_V1").meta["num_params"]
    assert parameter_count(on_meta(name)) + classifier(name) == published


def test_parameter_count_of_slow_r50():
    """PyTorchVideo's model zoo: 32.45 M with the classifier."""
    count = parameter_count(on_meta("slow_r50"))
    assert count == 31_634_496
    assert round((count + classifier("slow_r50")) / 1e6, 2) == 32.45


def test_parameter_count_of_s3d_g():
    """Table 3 of the paper: 9.1 M."""
    assert parameter_count(on_meta("s3d_g")) == 9_098_000


def test_parameter_count_of_vit():
    """Table 3 of the paper: 87 M. Ours has no parameters for position and no classifier."""
    tubelets, blocks, norm = 3 * 512 * 768 + 768, 12 * 7_087_872, 2 * 768
    assert parameter_count(on_meta("vit_b16")) == tubelets + blocks + norm == 86_236_416


def test_parameter_counts_of_the_thin_networks():
    """Table 3 prints 13.5 M and 15.4 M: nearer to these than to the full networks, but equal to neither."""
    assert parameter_count(on_meta("r3d_18_thin")) == 14_361_792
    assert parameter_count(on_meta("r2plus1d_18_thin")) == 14_352_519


def test_a_thin_factorised_convolution_has_the_parameters_of_the_one_it_replaces():
    full, factorised = on_meta("r3d_18_thin"), on_meta("r2plus1d_18_thin")
    for conv, pair in zip(full.layer3[0].conv2, factorised.layer3[0].conv2):
        if isinstance(conv, nn.Conv3d):
            weights = sum(p.numel() for n, p in pair.named_parameters() if p.ndim == 5)
            assert abs(weights / conv.weight.numel() - 1) < 2e-3


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("tiny", 4),
        ("slow_r50", 53),
        ("r3d_18", 20),
        ("r3d_18_thin", 12),
        ("r2plus1d_18", 37),
        ("r2plus1d_18_thin", 21),
        ("s3d", 77),
        ("s3d_g", 77),
        ("vit_b16", 0),
    ],
)
def test_batch_normalisation_layers(name, count):
    assert sum(isinstance(m, nn.BatchNorm3d) for m in on_meta(name).modules()) == count


@pytest.mark.parametrize(
    ("name", "frames", "size", "published"),
    [
        ("slow_r50", 8, 256, 54.52),  # PyTorchVideo's model zoo
        ("vit_b16", 16, 224, 180),  # VideoMAE's table for ViT-B and 16 frames
    ],
)
def test_multiplications_of_a_forward_pass(name, frames, size, published):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        on_meta(name)(torch.empty(1, 3, frames, size, size, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(published, rel=3e-3)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.parametrize(("frames", "size"), [(8, 32), (3, 45)])
def test_one_feature_per_frame_at_every_depth(name, frames, size):
    backbone = on_meta(name)
    assert backbone.frames_out(frames) == frames
    assert backbone.frames_out(1) == 1
    clips = torch.empty(2, 3, frames, size, size, device="meta")
    stages = backbone.stages(clips)
    assert len(stages) == 4
    assert {s.shape[:2] for s in stages} == {(2, frames)}
    widths = [s.shape[2] for s in stages]
    assert widths == sorted(widths)
    assert widths[-1] == backbone.dim
    assert backbone(clips).shape == (2, frames, backbone.dim)


@pytest.mark.parametrize("frames", [16, 32])
def test_one_feature_per_tubelet(frames):
    backbone = on_meta("vit_b16")
    assert backbone.frames_out(2) == 1
    assert backbone.frames_out(frames) == frames // 2
    stages = backbone.stages(torch.empty(1, 3, frames, 64, 96, device="meta"))
    assert [s.shape for s in stages] == [(1, frames // 2, 768)] * 4


@pytest.mark.parametrize("name", GEOMETRY)
def test_forward_is_the_last_stage(name):
    backbone = TubeletViT(**SMALL_VIT) if name == "vit_b16" else build_backbone(ModelConfig(backbone=name))
    backbone.eval()
    clips = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(backbone(clips), backbone.stages(clips)[-1])


@pytest.mark.parametrize("name", ["slow_r50", "r2plus1d_18_thin", "s3d_g", "vit_b16"])
def test_every_parameter_gets_a_gradient(name):
    backbone = TubeletViT(**SMALL_VIT) if name == "vit_b16" else build_backbone(ModelConfig(backbone=name))
    features = backbone(torch.randn(2, 3, 4, 32, 32))
    (features * torch.randn_like(features)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in backbone.parameters())


def test_slow_r50_at_its_two_inputs():
    backbone = on_meta("slow_r50")
    for frames in (8, 16):
        maps = backbone.maps(torch.empty(1, 3, frames, 224, 224, device="meta"))
        assert [m.shape[1:] for m in maps] == [
            (256, frames, 56, 56),
            (512, frames, 28, 28),
            (1024, frames, 14, 14),
            (2048, frames, 7, 7),
        ]


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("tiny", (1, 3, 8, 15, 16), "tiny needs clips of 16 pixels or more, got 15"),
        ("s3d", (1, 3, 8, 16, 16), "s3d needs clips of 32 pixels or more, got 16"),
        ("slow_r50", (1, 8, 3, 32, 32), r"expected clips \(N, 3, L, H, W\), got \(1, 8, 3, 32, 32\)"),
        ("slow_r50", (3, 8, 32, 32), "expected clips"),
        ("tiny", (1, 3, 0, 16, 16), "tiny makes one feature per 1 frame"),
        ("vit_b16", (1, 3, 7, 32, 32), "expected a multiple of 2, got 7; use 6 or 8"),
        (
            "vit_b16",
            (1, 3, 8, 40, 32),
            "patches of 16 pixels: .* got 40; use 32 or 48",
        ),
    ],
)
def test_clips_that_do_not_fit(name, shape, message):
    with pytest.raises(ValueError, match=message):
        on_meta(name)(torch.empty(shape, device="meta"))


def test_the_position_code_is_distinct_and_stretches_with_the_clip():
    code = position_code((4, 14, 14), 96, grid=14)
    assert code.shape == (4 * 14 * 14, 96)
    assert torch.pdist(code).min() > 0.1
    torch.testing.assert_close(code[0], torch.cat([torch.zeros(16), torch.ones(16)]).repeat(3))
    half = position_code((4, 7, 7), 96, grid=14).view(4, 7, 7, 96)
    full = code.view(4, 14, 14, 96)
    torch.testing.assert_close(half[:, 0, 0, :32], full[:, 0, 0, :32])
    rows = torch.arange(7) * 2 + 0.5
    torch.testing.assert_close(half[0, :, 0, 32], rows.sin())
    with pytest.raises(ValueError, match="multiple of 6, got 64"):
        position_code((4, 7, 7), 64, grid=14)


def test_tubelets_attend_to_each_other_in_order():
    torch.manual_seed(0)
    vit = TubeletViT(**SMALL_VIT).double().eval()
    clips = torch.randn(1, 3, 8, 32, 32, dtype=torch.float64)
    other = clips.clone()
    other[:, :, 6:] = 0
    assert (vit(clips) - vit(other)).abs().amax((0, 2)).min() > 1e-6
    swapped = torch.cat([clips[:, :, 4:], clips[:, :, :4]], dim=2)
    assert (vit(clips) - vit(swapped).roll(2, 1)).abs().max() > 1e-3


def test_attention_has_a_second_derivative_where_it_is_asked_for():
    vit = TubeletViT(**SMALL_VIT).double()
    with attention_route(twice=True):
        loss = vit(torch.randn(1, 3, 4, 32, 32, dtype=torch.float64)).square().mean()
        gradients = torch.autograd.grad(loss, list(vit.parameters()), create_graph=True)
        sum(g.square().sum() for g in gradients).backward()
    assert vit.tubelets.weight.grad.abs().max() > 0


def test_every_backbone_of_the_options_is_registered_once():
    options = get_args(get_type_hints(ModelConfig)["backbone"])
    assert set(BACKBONES) == set(GEOMETRY) == set(options)
    with pytest.raises(ValueError, match="no backbone named 'none'; there are: tiny"):
        build_backbone(ModelConfig(backbone="none"))
