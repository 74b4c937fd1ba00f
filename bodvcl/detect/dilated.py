"""A backbone whose last stage keeps the resolution of the one before: stride 1 and dilation 2.

The boxes of people are cut out of a map that is twice as fine, with the same weights: SlowFast's res5 for AVA
(``SPATIAL_STRIDES`` 1, ``SPATIAL_DILATIONS`` 2, in all blocks of the stage).
"""

from __future__ import annotations

from torch import nn

from bodvcl.config.backbones import GEOMETRY
from bodvcl.errors import ConfigError
from bodvcl.models.backbones.base import Backbone
from bodvcl.models.backbones.temporal import triple


def refuse_undilatable(name: str) -> None:
    """Raise :class:`~bodvcl.errors.ConfigError` for a backbone that has no stage to dilate."""
    if not GEOMETRY[name].dilates:
        able = ", ".join(g.name for g in GEOMETRY.values() if g.dilates)
        raise ConfigError(
            f"the last stage of {name} cannot have stride 1 and dilation 2; add --no-dilate (one cell of its "
            f"feature map is then {GEOMETRY[name].cell} pixels wide), or use one of {able}"
        )


def dilate_last_stage(backbone: Backbone) -> Backbone:
    """Give the last stage spatial stride 1 and dilation 2, in place; parameters and their names stay.

    Raises:
        ConfigError: the backbone has no such stage.
    """
    refuse_undilatable(backbone.name)
    for module in backbone.parts()[-1]:
        for conv in module.modules():
            if isinstance(conv, nn.Conv3d):
                _dilate(conv)
    return backbone


def cell_size(name: str, dilated: bool) -> int:
    """Height and width in pixels of one cell of the last feature map."""
    return GEOMETRY[name].cell // (2 if dilated else 1)


def _dilate(conv: nn.Conv3d) -> None:
    time_stride, *_ = triple(conv.stride)
    _, *kernel = triple(conv.kernel_size)
    time_padding, *padding = triple(conv.padding)
    conv.stride = (time_stride, 1, 1)
    factors = [2 if side > 1 else 1 for side in kernel]
    conv.dilation = (triple(conv.dilation)[0], factors[0], factors[1])
    conv.padding = (time_padding, factors[0] * padding[0], factors[1] * padding[1])
