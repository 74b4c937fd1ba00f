"""Checkpoints with the names and shapes of the published ones, and independent forwards to compare with."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn.functional import batch_norm, conv3d, max_pool3d
from torchvision.models import video

from bodvcl.config.schema import ModelConfig
from bodvcl.errors import CheckpointError
from bodvcl.models.backbones.build import build_backbone
from bodvcl.models.backbones.weight_names import our_weights
from bodvcl.models.backbones.weights import load_pretrained, weights_report
from bodvcl.models.encoder import build_encoder, initial_encoder

STAGES = {"s2": (3, 64, 1, 1), "s3": (4, 128, 1, 2), "s4": (6, 256, 3, 2), "s5": (3, 512, 3, 2)}


def small_norm(width, generator):
    return {
        "weight": 0.5 + torch.rand(width, generator=generator),
        "bias": 0.1 * torch.randn(width, generator=generator),
        "running_mean": 0.1 * torch.randn(width, generator=generator),
        "running_var": 0.5 + torch.rand(width, generator=generator),
        "num_batches_tracked": torch.tensor(7),
    }


def slowfast_weights():
    """Slow-R50 as SlowFast's `ResNet` with ARCH slow names it."""
    generator = torch.Generator().manual_seed(0)
    weights = {}

    def layer(conv, norm, out, into, *kernel):
        fan = into * kernel[0] * kernel[1] * kernel[2]
        weights[f"{conv}.weight"] = torch.randn(out, into, *kernel, generator=generator) * fan**-0.5
        weights.update({f"{norm}.{k}": v for k, v in small_norm(out, generator).items()})

    layer("s1.pathway0_stem.conv", "s1.pathway0_stem.bn", 64, 3, 1, 7, 7)
    into = 64
    for stage, (blocks, inner, time, _) in STAGES.items():
        for block in range(blocks):
            at = f"{stage}.pathway0_res{block}"
            if block == 0:
                layer(f"{at}.branch1", f"{at}.branch1_bn", 4 * inner, into, 1, 1, 1)
            layer(f"{at}.branch2.a", f"{at}.branch2.a_bn", inner, into, time, 1, 1)
            layer(f"{at}.branch2.b", f"{at}.branch2.b_bn", inner, inner, 1, 3, 3)
            layer(f"{at}.branch2.c", f"{at}.branch2.c_bn", 4 * inner, inner, 1, 1, 1)
            into = 4 * inner
    weights["head.projection.weight"] = torch.zeros(400, 2048)
    weights["head.projection.bias"] = torch.zeros(400)
    return weights


def slow_forward(weights, clips):
    """The slow pathway, layer by layer, in float64 with zeros at the ends of a clip."""
    w = {k: v.double() for k, v in weights.items()}

    def layer(x, conv, norm, stride=1, padding=(0, 0, 0)):
        x = conv3d(x, w[f"{conv}.weight"], stride=(1, stride, stride), padding=padding)
        moments = (w[f"{norm}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return batch_norm(x, *moments, eps=1e-5)

    x = layer(clips, "s1.pathway0_stem.conv", "s1.pathway0_stem.bn", 2, (0, 3, 3)).relu()
    x = max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage, (blocks, _, time, stage_stride) in STAGES.items():
        for block in range(blocks):
            at, stride = f"{stage}.pathway0_res{block}", stage_stride if block == 0 else 1
            skip = layer(x, f"{at}.branch1", f"{at}.branch1_bn", stride) if block == 0 else x
            x = layer(x, f"{at}.branch2.a", f"{at}.branch2.a_bn", 1, (time // 2, 0, 0)).relu()
            x = layer(x, f"{at}.branch2.b", f"{at}.branch2.b_bn", stride, (0, 1, 1)).relu()
            x = (layer(x, f"{at}.branch2.c", f"{at}.branch2.c_bn") + skip).relu()
    return x.mean((-2, -1)).transpose(1, 2)


def pytorchvideo_name(name):
    """The same layer in PyTorchVideo's `create_resnet`."""
    name = name.replace("head.projection", "blocks.5.proj").replace("s1.pathway0_stem.bn", "blocks.0.norm")
    name = name.replace("s1.pathway0_stem", "blocks.0")
    name = re.sub(r"s(\d)\.pathway0_res(\d)", lambda m: f"blocks.{int(m[1]) - 1}.res_blocks.{m[2]}", name)
    name = name.replace("branch1_bn", "branch1_norm").replace("branch1.", "branch1_conv.")
    name = re.sub(r"branch2\.([abc])_bn", r"branch2.norm_\1", name)
    return re.sub(r"branch2\.([abc])\.", r"branch2.conv_\1.", name)


def slow_r50(padding="zero"):
    return build_backbone(ModelConfig(backbone="slow_r50", temporal_padding=padding)).eval()


def save(tmp_path, state, name="weights.pyth"):
    torch.save(state, tmp_path / name)
    return tmp_path / name


@pytest.fixture(scope="module")
def slowfast():
    return slowfast_weights()


def test_slowfast_s_checkpoint(tmp_path, slowfast):
    path = save(tmp_path, {"epoch": 195, "model_state": slowfast, "optimizer_state": {}, "cfg": "TRAIN: {}"})
    backbone = slow_r50()
    lines = load_pretrained(backbone, path)
    assert lines == [
        f"backbone slow_r50 starts from {path}",
        "  not of the backbone, left out: head.projection.weight, head.projection.bias (2 names)",
    ]
    clips = torch.randn(1, 3, 4, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.double()(clips), slow_forward(slowfast, clips))
    assert backbone.res5[2].branch.c_bn.num_batches_tracked == 7


@pytest.mark.parametrize("kind", ["pytorchvideo", "contrastive", "data parallel"])
def test_other_names_of_the_same_weights(slowfast, kind):
    if kind == "pytorchvideo":
        named = {pytorchvideo_name(k): v for k, v in slowfast.items()}
        assert "blocks.4.res_blocks.0.branch1_conv.weight" in named
        assert "blocks.3.res_blocks.5.branch2.norm_b.running_var" in named
    elif kind == "contrastive":
        named = {f"backbone.{k}": v for k, v in slowfast.items()}
        named |= {f"backbone_hist.{k}": torch.zeros(1) for k in slowfast}
        named |= {"queue_x": torch.zeros(8, 128), "ptr": torch.zeros(1)}
    else:
        named = {f"module.{k}": v for k, v in slowfast.items()}
    own = slow_r50("repeat").state_dict()
    ours, other = our_weights(slowfast, own).weights, our_weights(named, own).weights
    assert len(ours) == 53 * 6
    assert ours.keys() == other.keys() == own.keys()
    assert all(value is other[key] for key, value in ours.items())


def centred(network):
    """Random weights of which a still clip sees the central slices only, with statistics of their own."""
    generator = torch.Generator().manual_seed(1)
    state = network.state_dict()
    for name, value in state.items():
        if value.ndim == 5:
            mask = torch.zeros(value.shape[2])
            mask[value.shape[2] // 2] = 1
            value.mul_(mask[:, None, None])
        elif name.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif name.endswith("running_mean"):
            value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return network.double().eval()


@pytest.mark.parametrize(
    ("name", "padding"),
    [("r3d_18", "zero"), ("r2plus1d_18", "repeat"), ("s3d", "zero"), ("s3d", "repeat")],
)
def test_torchvision_s_checkpoints_load_into_networks_without_temporal_stride(tmp_path, name, padding):
    """With central slices only, a still clip has no stride to see: both networks give the same feature."""
    torch.manual_seed(0)
    original = centred(getattr(video, name)())
    backbone = build_backbone(ModelConfig(backbone=name, temporal_padding=padding)).double().eval()
    lines = load_pretrained(backbone, save(tmp_path, original.state_dict(), "weights.pth"))
    assert "left out: " in lines[1]
    assert "temporal strides, which are removed here" in lines[2]
    assert len(lines) == (4 if padding == "repeat" else 3)
    clip = torch.randn(1, 3, 1, 32, 32, dtype=torch.float64).expand(-1, -1, 8, -1, -1)
    with torch.no_grad():
        if name == "s3d":
            expected = original.features(clip)
        else:
            expected = original.stem(clip)
            for layer in (original.layer1, original.layer2, original.layer3, original.layer4):
                expected = layer(expected)
        expected = expected.mean((-2, -1)).transpose(1, 2)
        assert expected.shape[1] == 1
        torch.testing.assert_close(backbone(clip), expected.expand(-1, 8, -1))


@pytest.mark.parametrize("name", ["r3d_18", "r2plus1d_18"])
def test_a_strided_layer_is_the_unstrided_one_at_every_other_frame(name):
    original = getattr(video, name)().double().eval()
    backbone = build_backbone(ModelConfig(backbone=name, temporal_padding="zero")).double().eval()
    backbone.load_state_dict(original.state_dict(), strict=False)
    x = torch.randn(1, 64, 8, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.layer2[0].conv1(x)[:, :, ::2], original.layer2[0].conv1(x))
        torch.testing.assert_close(
            backbone.layer2[0].downsample(x)[:, :, ::2], original.layer2[0].downsample(x)
        )


def test_the_encoder_starts_from_them_and_a_plain_build_does_not_ask_for_them(tmp_path, slowfast):
    path = save(tmp_path, {"model_state": slowfast})
    config = ModelConfig(backbone="slow_r50", weights=str(path), hidden_dim=8, embed_dim=4)
    encoder = initial_encoder(config)
    assert torch.equal(encoder.backbone.stem.conv.weight, slowfast["s1.pathway0_stem.conv.weight"])
    lines = weights_report(config)
    assert lines == load_pretrained(encoder.backbone, path)
    assert lines[0] == f"backbone slow_r50 starts from {path}"
    assert "outer frames are repeated" in lines[2]
    path.unlink()
    build_encoder(config)
    assert weights_report(ModelConfig()) == []


def one_line(call, *parts):
    with pytest.raises(CheckpointError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def test_weights_that_do_not_fit_are_listed(tmp_path, slowfast):
    backbone = slow_r50()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    cut = {k: v for k, v in slowfast.items() if not k.startswith("s5.pathway0_res2")}
    cut["s5_fuse.conv.weight"] = torch.zeros(1)
    cut["s1.pathway0_stem.conv.weight"] = torch.zeros(64, 3, 5, 7, 7)
    one_line(
        lambda: load_pretrained(backbone, save(tmp_path, {"model_state": cut})),
        "does not hold the weights of slow_r50",
        "15 missing (res5.2.branch.a.weight, ",
        "1 unexpected (s5_fuse.conv.weight)",
        "1 of another shape (stem.conv.weight (64, 3, 5, 7, 7) for (64, 3, 1, 7, 7))",
    )
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_weights_of_another_backbone(tmp_path):
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in video.r3d_18().state_dict().items()}
    path = save(tmp_path, {k: torch.zeros(shape) for k, shape in shapes.items()})
    one_line(
        lambda: load_pretrained(slow_r50(), path), "missing (stem.conv.weight", "unexpected (stem.0.weight"
    )
    message = "R3D_18_Weights.KINETICS400_V1 are not weights of slow_r50; use a checkpoint file (.pyth)"
    one_line(lambda: load_pretrained(slow_r50(), "R3D_18_Weights.KINETICS400_V1"), message)
    gated = build_backbone(ModelConfig(backbone="s3d_g"))
    one_line(lambda: load_pretrained(gated, path), "no published weights for s3d_g; there are for slow_r50")


def test_names_and_files_that_are_none(tmp_path):
    backbone = build_backbone(ModelConfig(backbone="r3d_18"))
    one_line(
        lambda: load_pretrained(backbone, "R3D_18_Weights.KINETICS"),
        "torchvision has no weights R3D_18_Weights.KINETICS; for r3d_18 there is R3D_18_",
    )
    one_line(lambda: load_pretrained(backbone, tmp_path / "none.pth"), "cannot read weights", "No such file")
    (tmp_path / "caffe2.pkl").write_bytes(b"\x80\x02}q\x00.nonsense")
    one_line(lambda: load_pretrained(backbone, tmp_path / "caffe2.pkl"), "not a checkpoint")
    path = save(tmp_path, {"epoch": 3})
    one_line(lambda: load_pretrained(backbone, path), "holds no weights: expected a dictionary of tensors")
