from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import conv3d, pad

from bodvcl.config.schema import ModelConfig
from bodvcl.models.backbones.build import build_backbone
from bodvcl.models.backbones.temporal import (
    RepeatConv3d,
    remove_temporal_strides,
    repeat_ends,
    repeat_outer_frames,
)

KINDS = ["tiny", "slow_r50", "r3d_18_thin", "r2plus1d_18_thin", "s3d_g"]


def still_features(name, padding, train):
    torch.manual_seed(0)
    backbone = build_backbone(ModelConfig(backbone=name, temporal_padding=padding)).double().train(train)
    clip = torch.randn(3, 3, 1, 40, 40, dtype=torch.float64).expand(-1, -1, 4, -1, -1)
    with torch.no_grad():
        features = backbone(clip)
    return features, (features - features[:, 2:3]).abs().max() / features.abs().max()


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_a_repeated_frame_gives_the_same_feature_in_every_frame(name, train):
    features, spread = still_features(name, "repeat", train)
    assert features.abs().max() > 0
    assert spread < 1e-6


@pytest.mark.parametrize("name", KINDS)
def test_zeros_tell_the_outer_frames_apart(name):
    assert still_features(name, "zero", train=True)[1] > 1e-3


@pytest.mark.parametrize("name", KINDS)
def test_both_paddings_have_the_same_parameters(name):
    shapes = []
    for padding in ("zero", "repeat"):
        with torch.device("meta"):
            state = build_backbone(ModelConfig(backbone=name, temporal_padding=padding)).state_dict()
        shapes.append({key: value.shape for key, value in state.items()})
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("kernel", [(3, 3, 3), (7, 1, 1), (5, 1, 3)])
@pytest.mark.parametrize("bias", [False, True])
def test_the_convolution_equals_replicate_padding(kernel, bias):
    torch.manual_seed(0)
    padding = tuple(k // 2 for k in kernel)
    conv = nn.Conv3d(4, 6, kernel, (1, 2, 2), padding, groups=2, bias=bias).double()
    net = repeat_outer_frames(nn.Sequential(conv))
    assert type(net[0]) is RepeatConv3d
    assert net[0].weight is conv.weight
    assert net[0].bias is conv.bias
    x = torch.randn(2, 4, 3, 8, 7, dtype=torch.float64)
    padded = pad(x, (0, 0, 0, 0, padding[0], padding[0]), mode="replicate")
    padded = pad(padded, (padding[2], padding[2], padding[1], padding[1]))
    expected = conv3d(padded, conv.weight, conv.bias, stride=(1, 2, 2), groups=2)
    torch.testing.assert_close(net(x), expected)


def test_first_and_second_derivatives():
    torch.manual_seed(0)
    conv = repeat_outer_frames(nn.Sequential(nn.Conv3d(2, 3, 3, padding=1).double()))[0]
    inputs = [torch.randn(2, 2, 3, 4, 4, dtype=torch.float64), conv.weight, conv.bias]
    inputs = [t.detach().requires_grad_() for t in inputs]

    def call(x, weight, bias):
        return functional_call(conv, {"weight": weight, "bias": bias}, (1.5 * x,))

    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_repetition_is_not_kept_for_the_backward_pass(dtype):
    """What autograd hands out as the saved input is made anew each time it is asked for."""
    conv = repeat_outer_frames(nn.Sequential(nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0))))[0]
    x = torch.randn(2, 4, 5, 3, 3, requires_grad=True).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        y = conv(x)
    first, second = y.grad_fn._saved_input, y.grad_fn._saved_input
    assert first.data_ptr() != second.data_ptr()
    assert torch.equal(first, repeat_ends(x, 1))


def test_it_runs_under_inference_mode():
    convs = repeat_outer_frames(nn.Sequential(nn.Conv3d(2, 3, 3, padding=1), nn.Conv3d(3, 2, 3, padding=1)))
    x = torch.randn(1, 2, 3, 4, 4)
    with torch.inference_mode():
        y = convs(x)  # what the second one takes is an inference tensor
    assert torch.equal(y, convs(x))


def test_an_input_changed_in_place_is_noticed():
    conv = repeat_outer_frames(nn.Sequential(nn.Conv3d(2, 3, 3, padding=1)))[0]
    x = torch.randn(1, 2, 3, 4, 4, requires_grad=True) * 2
    y = conv(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="was changed in place"):
        y.sum().backward()


def test_it_compiles_into_one_graph():
    conv = repeat_outer_frames(nn.Sequential(nn.Conv3d(2, 3, 3, padding=1)))[0]
    x = torch.randn(1, 2, 3, 4, 4)
    compiled = torch.compile(conv, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), conv(x))


def test_spatial_convolutions_stay_as_they_are():
    conv = nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1))
    assert repeat_outer_frames(nn.Sequential(conv))[0] is conv


def test_the_numbers_of_the_tiny_backbone():
    """Its draws and its arithmetic, written out: convolutions on clips with repeated outer frames."""
    torch.manual_seed(3)
    convs = []
    for a, b, k in ((3, 4, (1, 5, 5)), (4, 8, (3, 3, 3)), (8, 16, (3, 3, 3)), (16, 16, (3, 3, 3))):
        padding = (0, k[1] // 2, k[2] // 2)
        convs.append(nn.Conv3d(a, b, k, (1, 2, 2), padding, bias=False))
    torch.manual_seed(3)
    backbone = build_backbone(ModelConfig(width=4)).double().train()
    clips = torch.randn(2, 3, 5, 24, 24, dtype=torch.float64)
    x = clips
    for conv in convs:
        if conv.kernel_size[0] == 3:
            x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
        x = nn.BatchNorm3d(conv.out_channels).double()(conv.double()(x)).relu()
    torch.testing.assert_close(backbone(clips), x.mean((-2, -1)).transpose(1, 2), rtol=1e-9, atol=1e-12)


def test_pooling_without_padding_becomes_one_frame_long():
    net = remove_temporal_strides(
        nn.Sequential(
            nn.MaxPool3d((2, 2, 2), (2, 2, 2)),
            nn.MaxPool3d((3, 3, 3), (2, 2, 2), (1, 1, 1)),
            nn.MaxPool3d(3, 1, 1),
        )
    )
    assert [p.kernel_size for p in net] == [(1, 2, 2), (3, 3, 3), (3, 3, 3)]
    assert [p.stride for p in net] == [(1, 2, 2), (1, 2, 2), (1, 1, 1)]
    assert [p.padding for p in net] == [(0, 0, 0), (1, 1, 1), (1, 1, 1)]
    assert net(torch.randn(1, 2, 7, 16, 16)).shape[2] == 7


def test_a_convolution_that_cannot_keep_time_is_refused():
    with pytest.raises(ValueError, match="0: a temporal kernel of 3 with padding 0"):
        remove_temporal_strides(nn.Sequential(nn.Conv3d(3, 4, 3)))
