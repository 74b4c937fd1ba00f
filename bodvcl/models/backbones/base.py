"""Base of all backbones: they map clips to one feature per frame (or per tubelet), at several depths."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from bodvcl.config.backbones import GEOMETRY


class Backbone(nn.Module, ABC):
    """Maps clips ``(N, 3, L, H, W)`` to per-frame features ``(N, T, D)`` with T = ``frames_out(L)``.

    Args:
        name: a key of :data:`bodvcl.config.backbones.GEOMETRY`.
        dim: D, width of a feature.
    """

    def __init__(self, name: str, dim: int) -> None:
        super().__init__()
        self.name = name
        self.dim = dim

    def frames_out(self, frames: int) -> int:
        """T, the number of features of a clip of ``frames`` frames.

        Raises:
            ValueError: too few frames, or not a multiple of the frames of one feature.
        """
        return GEOMETRY[self.name].frames_out(frames)

    @abstractmethod
    def maps(self, clips: Tensor) -> list[Tensor]:
        """Feature maps ``(N, D_l, T, h_l, w_l)`` of four depths l, from shallow to deep; the last width is
        D."""

    @abstractmethod
    def parts(self) -> list[list[nn.Module]]:
        """The network cut into consecutive parts, from the input to the output. Every parameter and every
        buffer is in exactly one."""

    def pieces(self) -> list[nn.Module]:
        """The blocks that hold most parameters and pass one after the other, each with one call; none where a
        backbone has no such blocks."""
        return []

    def stages(self, clips: Tensor) -> list[Tensor]:
        """Per-frame features ``(N, T, D_l)`` of four depths, averaged over space; the last are those of
        ``forward``.

        Raises:
            ValueError: as :meth:`forward`.
        """
        self._check(clips)
        return [pool_space(x) for x in self.maps(clips)]

    def forward(self, clips: Tensor) -> Tensor:
        """Per-frame features ``(N, T, D)``.

        Raises:
            ValueError: clips that are not 5-dimensional, have too few frames, or are too small.
        """
        self._check(clips)
        return pool_space(self.maps(clips)[-1])

    def _check(self, clips: Tensor) -> None:
        if clips.ndim != 5 or clips.shape[1] != 3:
            raise ValueError(f"expected clips (N, 3, L, H, W), got {tuple(clips.shape)}")
        geometry = GEOMETRY[self.name]
        geometry.frames_out(clips.shape[2])
        for side in clips.shape[3:]:
            geometry.check_size(side)


def pool_space(x: Tensor) -> Tensor:
    """Average over space only: ``(N, C, T, h, w)`` -> ``(N, T, C)``."""
    return x.mean((-2, -1)).transpose(1, 2)
