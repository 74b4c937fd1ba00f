"""Time in convolutional backbones: no temporal strides, and outer frames repeated at the ends of a clip.

:func:`remove_temporal_strides` and :func:`repeat_outer_frames` change a network in place. The names and
shapes of its parameters stay the same.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import conv3d

Network = TypeVar("Network", bound=nn.Module)


class RepeatConv3d(nn.Conv3d):
    """A 3D convolution that pads space with zeros and time by repeating the first and the last frame.

    Zero padding in time tells a network where a clip ends. A clip of one repeated frame then has different
    features in its outer frames and in its middle: static content looks like change. With repeated frames,
    all features of such a clip are equal.

    Parameters, their names and the arguments are those of :class:`torch.nn.Conv3d`. The temporal stride and
    dilation are 1.

    The repetition costs no memory: for the backward pass the original input is saved, and its ends are
    repeated again. torch.compile decides itself what to save.
    """

    def forward(self, x: Tensor) -> Tensor:
        count = triple(self.padding)[0]
        if not count:
            return self._convolve(x)
        longer = repeat_ends(x, count)
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return self._convolve(longer)
        with _saved_unrepeated(x, longer, count):
            return self._convolve(longer)

    def _convolve(self, x: Tensor) -> Tensor:
        padding = (0, *triple(self.padding)[1:])
        return conv3d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def repeat_ends(x: Tensor, count: int) -> Tensor:
    """Repeat the outer frames ``count`` times: ``(N, C, T, h, w)`` get T + 2 ``count`` frames."""
    return torch.cat([x[:, :, :1]] * count + [x] + [x[:, :, -1:]] * count, dim=2)


def _saved_unrepeated(x: Tensor, longer: Tensor, count: int) -> saved_tensors_hooks:
    """While entered, autograd saves ``x`` in place of ``longer = repeat_ends(x, count)``."""
    source, version, storage = x.detach(), x._version, longer.untyped_storage()._cdata

    def pack(tensor: Tensor) -> Tensor | None:
        return None if tensor.untyped_storage()._cdata == storage else tensor

    def unpack(packed: Tensor | None) -> Tensor:
        if packed is not None:
            return packed
        if source._version != version:
            raise RuntimeError("the input of a convolution that repeats outer frames was changed in place")
        return repeat_ends(source, count)

    return saved_tensors_hooks(pack, unpack)


def remove_temporal_strides(network: Network) -> Network:
    """Make every convolution and max-pooling of ``network`` keep the number of frames, in place.

    The temporal stride becomes 1. A pooling window whose padding does not keep the length, such as S3D's
    (2, 2, 2), becomes 1 frame long. Kernels keep their shapes, so that published weights still fit. Deeper
    layers then get frames at the full rate, and not at half of it.

    Raises:
        ValueError: a convolution cannot keep the number of frames with its kernel and padding.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d):
            module.stride = (1, *module.stride[1:])
            kernel_length, padded = module.kernel_size[0], triple(module.padding)[0]
            if kernel_length != 2 * padded + 1:
                raise ValueError(
                    f"{name}: a temporal kernel of {kernel_length} with padding {padded} does not keep the "
                    "number of frames"
                )
        elif isinstance(module, nn.MaxPool3d):
            kernel, stride, padding = (triple(v) for v in (module.kernel_size, module.stride, module.padding))
            keeps = kernel[0] == 2 * padding[0] + 1
            module.kernel_size = (kernel[0] if keeps else 1, *kernel[1:])
            module.padding = (padding[0] if keeps else 0, *padding[1:])
            module.stride = (1, *stride[1:])
    return network


def repeat_outer_frames(network: Network) -> Network:
    """Replace every convolution that pads time by a :class:`RepeatConv3d` with the same parameters, in place.

    Max-pooling does not need it: its padding is never the maximum.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv3d) and triple(child.padding)[0] > 0:
                setattr(parent, name, _repeating(child))
    return network


def _repeating(conv: nn.Conv3d) -> RepeatConv3d:
    repeating = RepeatConv3d(
        conv.in_channels,
        conv.out_channels,
        triple(conv.kernel_size),
        triple(conv.stride),
        triple(conv.padding),
        triple(conv.dilation),
        conv.groups,
        bias=conv.bias is not None,
        device="meta",
    )
    repeating.weight, repeating.bias = conv.weight, conv.bias
    return repeating


def triple(size: int | str | tuple[int, ...]) -> tuple[int, int, int]:
    """A size of a 3D convolution or pooling as (time, height, width).

    Raises:
        ValueError: a padding that is given by its name, such as "same".
    """
    if isinstance(size, str):
        raise ValueError(f"the padding of a 3D convolution is {size!r}; expected numbers")
    if isinstance(size, int):
        return size, size, size
    time, height, width = size
    return time, height, width
