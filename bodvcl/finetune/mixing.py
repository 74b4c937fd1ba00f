"""Mixup and cutmix of a batch of clips (arXiv:1710.09412, arXiv:1905.04899), by torchvision."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_mix(mixup: float, cutmix: float, classes: int) -> Mix | None:
    """What mixes a batch; None: nothing does.

    Args:
        mixup: alpha of mixup, 0: off.
        cutmix: alpha of cutmix, 0: off. With both, each call does one, with equal chance.
        classes: number of classes.

    Returns:
        A function of clips ``(N, 3, L, H, W)`` and targets, class numbers ``(N,)`` or ``(N, classes)``. It
        returns mixed clips and targets ``(N, classes)``. All frames of a clip are mixed in the same way: one
        weight, or one box over H and W. Its draws come from PyTorch's global generator.
    """
    kinds: list[v2.Transform] = []
    if mixup:
        kinds.append(v2.MixUp(alpha=mixup, num_classes=classes))
    if cutmix:
        kinds.append(v2.CutMix(alpha=cutmix, num_classes=classes))
    if not kinds:
        return None
    chosen = v2.RandomChoice(kinds)

    def mix(clips: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        # as a video, so that five dimensions are accepted; H and W are the last two, as in torchvision's
        mixed, soft = chosen(tv_tensors.Video(clips), targets)
        return mixed.as_subclass(Tensor), soft

    return mix
