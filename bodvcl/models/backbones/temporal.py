"""Time in convolutional backbones: no temporal strides, and outer frames repeated at the ends of a clip.

Both functions rewrite a network in place and leave the names and shapes of its parameters as they were.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import conv3d


class RepeatConv3d(nn.Conv3d):
    """A 3D convolution that pads space with zeros and time by repeating the first and the last frame.

    Zero padding in time tells a network where a clip ends: a clip of one repeated frame then has other
    features in its outer frames than in its middle, so that what is static leaks into what changes along the
    clip. With repeated frames all features of such a clip are equal.

    Parameters, their names and the arguments are those of :class:`torch.nn.Conv3d`; the temporal stride and
    dilation are 1.

    For the backward pass the input is kept as it came and its ends are repeated again, so that repetition
    costs no memory. torch.compile makes that choice itself.
    """

    def forward(self, x: Tensor) -> Tensor:
        count = self.padding[0]
        if not count:
            return self._convolve(x)
        longer = repeat_ends(x, count)
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return self._convolve(longer)
        with _saved_unrepeated(x, longer, count):
            return self._convolve(longer)

    def _convolve(self, x: Tensor) -> Tensor:
        padding = (0, *self.padding[1:])
        return conv3d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def repeat_ends(x: Tensor, count: int) -> Tensor:
    """Repeat the first and the last frame ``count`` times: ``(N, C, T, h, w)`` -> T + 2 ``count`` frames."""
    return torch.cat([x[:, :, :1]] * count + [x] + [x[:, :, -1:]] * count, dim=2)


def _saved_unrepeated(x: Tensor, longer: Tensor, count: int) -> saved_tensors_hooks:
    """Within it, autograd saves ``x`` where it would save ``longer = repeat_ends(x, count)``."""
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


def remove_temporal_strides(network: nn.Module) -> nn.Module:
    """Make every convolution and max-pooling of ``network`` keep the number of frames, in place.

    The temporal stride becomes 1. A pooling window whose padding does not keep the length, such as S3D's
    (2, 2, 2), becomes 1 frame long. Kernels keep their shapes, so that published weights still fit; the
    deeper layers then see frames at the input's rate instead of a halved one.

    Raises:
        ValueError: a convolution whose kernel and padding cannot keep the length.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d):
            module.stride = (1, *module.stride[1:])
            if module.kernel_size[0] != 2 * module.padding[0] + 1:
                raise ValueError(
                    f"{name}: a temporal kernel of {module.kernel_size[0]} with padding {module.padding[0]} "
                    "does not keep the number of frames"
                )
        elif isinstance(module, nn.MaxPool3d):
            kernel, stride, padding = (
                _triple(v) for v in (module.kernel_size, module.stride, module.padding)
            )
            keeps = kernel[0] == 2 * padding[0] + 1
            module.kernel_size = (kernel[0] if keeps else 1, *kernel[1:])
            module.padding = (padding[0] if keeps else 0, *padding[1:])
            module.stride = (1, *stride[1:])
    return network


def repeat_outer_frames(network: nn.Module) -> nn.Module:
    """Replace every convolution that pads time by a :class:`RepeatConv3d` with the same parameters, in place.

    Max-pooling needs nothing: its padding never wins.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv3d) and child.padding[0] > 0:
                setattr(parent, name, _repeating(child))
    return network


def _repeating(conv: nn.Conv3d) -> RepeatConv3d:
    repeating = RepeatConv3d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        bias=conv.bias is not None,
        device="meta",
    )
    repeating.weight, repeating.bias = conv.weight, conv.bias
    return repeating


def _triple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)
