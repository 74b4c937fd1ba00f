"""The slow pathway of SlowFast with 50 layers (Feichtenhofer et al., ICCV 2019, arXiv:1812.03982)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from bodvcl.models.backbones.base import Backbone

_STAGES = (
    ("res2", 3, 64, 1, 1),
    ("res3", 4, 128, 1, 2),
    ("res4", 6, 256, 3, 2),
    ("res5", 3, 512, 3, 2),
)
"""Name, blocks, inner width, temporal kernel of each block's first convolution, spatial stride."""


class SlowR50(Backbone):
    """Slow-R50: temporal kernels 1, 1, 1, 3, 3 and no temporal stride; ``dim`` 2048.

    The same network serves 8 frames with stride 8 and 16 frames with stride 4.
    """

    def __init__(self) -> None:
        super().__init__("slow_r50", 2048)
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv3d(3, 64, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
                bn=nn.BatchNorm3d(64),
                relu=nn.ReLU(inplace=True),
                pool=nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            )
        )
        width_in = 64
        for name, blocks, inner, kernel, stride in _STAGES:
            first = Bottleneck(width_in, inner, kernel, stride)
            rest = [Bottleneck(4 * inner, inner, kernel, 1) for _ in range(blocks - 1)]
            setattr(self, name, nn.Sequential(first, *rest))
            width_in = 4 * inner
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def parts(self) -> list[list[nn.Module]]:
        return [[self.stem], *([getattr(self, name)] for name, *_ in _STAGES)]

    def maps(self, clips: Tensor) -> list[Tensor]:
        maps = [self.stem(clips)]
        for name, *_ in _STAGES:
            maps.append(getattr(self, name)(maps[-1]))
        return maps[1:]


class Bottleneck(nn.Module):
    """Convolutions of ``(kernel, 1, 1)``, ``(1, 3, 3)`` and ``(1, 1, 1)`` beside a shortcut.

    Args:
        width_in: channels of the input; the output has ``4 * inner``.
        inner: channels between the convolutions.
        kernel: frames that the first convolution spans, odd.
        stride: spatial stride of the second convolution.
    """

    def __init__(self, width_in: int, inner: int, kernel: int, stride: int) -> None:
        super().__init__()
        width_out = 4 * inner
        self.skip = nn.Sequential()
        if width_in != width_out:
            self.skip = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv3d(width_in, width_out, 1, (1, stride, stride), bias=False),
                    bn=nn.BatchNorm3d(width_out),
                )
            )
        self.branch = nn.Sequential(
            OrderedDict(
                a=nn.Conv3d(width_in, inner, (kernel, 1, 1), padding=(kernel // 2, 0, 0), bias=False),
                a_bn=nn.BatchNorm3d(inner),
                a_relu=nn.ReLU(inplace=True),
                b=nn.Conv3d(inner, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
                b_bn=nn.BatchNorm3d(inner),
                b_relu=nn.ReLU(inplace=True),
                c=nn.Conv3d(inner, width_out, 1, bias=False),
                c_bn=nn.BatchNorm3d(width_out),
            )
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.branch(x) + self.skip(x))
        return out
