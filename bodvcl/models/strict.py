"""The strict lower level (Table 10): L_pred through a network that sees each frame on its own.

Every temporal kernel is reduced to its central slice and every temporal pooling to one frame, so that the
gradient of L_pred reaches spatial weights only, without information across frames. The upper level keeps the
whole kernels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from bodvcl.models.backbones.s3d import Gate


def strict_twin(network: nn.Module) -> nn.Module:
    """A network with the structure of ``network`` whose frames do not see each other.

    Temporal kernels and poolings are 1 frame long, without temporal padding; self-gating averages over space
    only. Batch normalisation stays as it is: its statistics are those of the whole batch.

    The twin has no parameters or buffers of its own (they are on the meta device). Call it with those of
    ``network``: ``functional_call(twin, (central_slice(params, network), buffers), clips)``. On a clip of one
    repeated frame it equals ``network`` where all off-centre slices are zero.

    Args:
        network: a convolutional backbone, or an encoder with one; it is not changed.

    Raises:
        ValueError: attention mixes all frames: there is no central slice to keep.
    """
    if any(isinstance(m, nn.MultiheadAttention) for m in network.modules()):
        raise ValueError(
            "the strict lower level keeps the central slice of temporal kernels, but attention mixes all "
            "frames and has none: use a convolutional backbone, or L_pred through the whole network"
        )
    twin = copy.deepcopy(network).to("meta")
    for module in twin.modules():
        if isinstance(module, nn.Conv3d):
            module.kernel_size = (1, *module.kernel_size[1:])
            module.padding = (0, *module.padding[1:])
        elif isinstance(module, nn.MaxPool3d):
            module.kernel_size = (1, *_spatial(module.kernel_size))
            module.stride = (1, *_spatial(module.stride))
            module.padding = (0, *_spatial(module.padding))
        elif isinstance(module, Gate):
            module.per_frame = True
    return twin


def central_slice(params: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """``params`` of ``network`` as its :func:`strict_twin` takes them; differentiable, the slices are views.

    Args:
        params: parameters by name, as ``network.named_parameters()`` has them; others stay as they are.
        network: the network whose twin is called.
    """
    sliced = dict(params)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1:
            key, centre = f"{name}.weight", module.kernel_size[0] // 2
            sliced[key] = params[key][:, :, centre : centre + 1]
    return sliced


def _spatial(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value,) * 2 if isinstance(value, int) else tuple(value)[1:]
