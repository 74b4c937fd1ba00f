"""The strict lower level (Table 10): L_pred through a network that processes each frame separately.

Every temporal kernel is reduced to its central slice and every temporal pooling to one frame. So the gradient
of L_pred reaches only spatial weights, and frames do not exchange information. The upper level uses the whole
kernels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from bodvcl.models.backbones.s3d import Gate
from bodvcl.models.backbones.temporal import triple


def strict_twin(network: nn.Module) -> nn.Module:
    """A network with the structure of ``network`` that processes each frame separately.

    Temporal kernels and poolings are 1 frame long, without temporal padding. Self-gating averages over space
    only. Batch normalisation does not change: its statistics are those of the whole batch.

    The twin has no parameters or buffers of its own (they are on the meta device). Call it with those of
    ``network``: ``functional_call(twin, (central_slice(params, network), buffers), clips)``. If all
    off-centre slices are zero, it equals ``network`` on a clip of one repeated frame.

    Args:
        network: a convolutional backbone, or an encoder with one; it does not change.

    Raises:
        ValueError: the network has attention, which mixes all frames and has no central slice.
    """
    if any(isinstance(m, nn.MultiheadAttention) for m in network.modules()):
        raise ValueError(
            "the strict lower level keeps the central slice of temporal kernels, but attention mixes all "
            "frames and has none: use a convolutional backbone, or L_pred through the whole network"
        )
    groups = [m.process_group for m in network.modules() if hasattr(m, "process_group")]
    twin = copy.deepcopy(network, {id(group): group for group in groups}).to("meta")  # no copies of groups
    for module in twin.modules():
        if isinstance(module, nn.Conv3d):
            module.kernel_size = (1, *module.kernel_size[1:])
            module.padding = (0, *triple(module.padding)[1:])
        elif isinstance(module, nn.MaxPool3d):
            module.kernel_size = (1, *triple(module.kernel_size)[1:])
            module.stride = (1, *triple(module.stride)[1:])
            module.padding = (0, *triple(module.padding)[1:])
        elif isinstance(module, Gate):
            module.per_frame = True
    return twin


def central_slice(params: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The parameters of ``network`` in the shapes of its :func:`strict_twin`. Differentiable: slices are
    views.

    Args:
        params: parameters by name, as in ``network.named_parameters()``; other names are passed through.
        network: the network whose twin is called.
    """
    sliced = dict(params)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1:
            key, centre = f"{name}.weight", module.kernel_size[0] // 2
            sliced[key] = params[key][:, :, centre : centre + 1]
    return sliced
