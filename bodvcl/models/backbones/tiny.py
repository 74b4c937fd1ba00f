"""A small spatio-temporal backbone, for tests and for the built-in data."""

from __future__ import annotations

from torch import Tensor, nn

from bodvcl.models.backbones.base import Backbone


class Tiny(Backbone):
    """Four 3D convolutions with spatial stride 2; ``dim = 4 * width``.

    Args:
        width: channels of the first layer; the others have 2, 4 and 4 times as many.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__("tiny", 4 * width)
        self.layers = nn.Sequential(
            _block(3, width, kernel=(1, 5, 5)),
            _block(width, 2 * width, kernel=(3, 3, 3)),
            _block(2 * width, 4 * width, kernel=(3, 3, 3)),
            _block(4 * width, 4 * width, kernel=(3, 3, 3)),
        )

    def parts(self) -> list[list[nn.Module]]:
        return [[layer] for layer in self.layers]

    def maps(self, clips: Tensor) -> list[Tensor]:
        maps = [clips]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps[1:]


def _block(channels_in: int, channels_out: int, kernel: tuple[int, int, int]) -> nn.Sequential:
    time, height, width = (k // 2 for k in kernel)
    padding = (time, height, width)
    conv = nn.Conv3d(channels_in, channels_out, kernel, stride=(1, 2, 2), padding=padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(channels_out), nn.ReLU(inplace=True))
