"""ViT-B/16 on tubelets of 2 frames (Dosovitskiy et al., arXiv:2010.11929; Arnab et al., arXiv:2103.15691)."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.models import VisionTransformer

from bodvcl.models.backbones.base import Backbone

TUBELET = (2, 16, 16)
"""Frames, height and width of the pixels in one token."""


class TubeletViT(Backbone):
    """A vision transformer whose tokens attend to each other across space and time.

    There is one feature per two frames, T = L / 2: the mean over space of the tokens after the final layer
    normalisation. There is no class token. The position code is fixed (:func:`position_code`), so that clips
    of any size and length work with the same parameters.

    Args:
        dim: D, width of a token, a multiple of 6 and of ``heads``.
        depth: number of blocks, a multiple of 4.
        heads: number of attention heads.
        size: height and width in pixels of the patch grid that the spatial code spans, for clips of any size.
    """

    def __init__(self, dim: int = 768, depth: int = 12, heads: int = 12, size: int = 224) -> None:
        super().__init__("vit_b16", dim)
        network = VisionTransformer(
            image_size=size,
            patch_size=TUBELET[1],
            num_layers=depth,
            num_heads=heads,
            hidden_dim=dim,
            mlp_dim=4 * dim,
        )
        self.grid = size // TUBELET[1]
        self.tubelets = nn.Conv3d(3, dim, TUBELET, TUBELET)
        nn.init.trunc_normal_(self.tubelets.weight, std=(3 * math.prod(TUBELET)) ** -0.5)
        if self.tubelets.bias is not None:
            nn.init.zeros_(self.tubelets.bias)
        self.blocks = network.encoder.layers
        self.norm = network.encoder.ln

    def parts(self) -> list[list[nn.Module]]:
        *earlier, last = self.blocks
        return [[self.tubelets], *([block] for block in earlier), [last, self.norm]]

    def pieces(self) -> list[nn.Module]:
        return list(self.blocks)

    def maps(self, clips: Tensor) -> list[Tensor]:
        tokens = self.tubelets(clips)
        shape = tokens.shape[2:]
        tokens = tokens.flatten(2).transpose(1, 2)
        tokens = tokens + position_code(shape, self.dim, self.grid, tokens.device).to(tokens.dtype)
        maps = []
        for count, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if count == len(self.blocks):
                tokens = self.norm(tokens)
            if count % (len(self.blocks) // 4) == 0:
                maps.append(tokens.transpose(1, 2).unflatten(2, shape))
        return maps


def attention_route(twice: bool) -> AbstractContextManager[object]:
    """Context for a pass through attention.

    Args:
        twice: use operators that can be differentiated twice; PyTorch's fused operators cannot.
    """
    return sdpa_kernel(SDPBackend.MATH) if twice else nullcontext()


def position_code(shape: tuple[int, ...], dim: int, grid: int, device: torch.device | str = "cpu") -> Tensor:
    """Sines and cosines of a token's time, row and column: ``(t * h * w, dim)``, float32.

    Each axis has a third of the channels, with ``dim / 6`` frequencies from 1 to 1/10000 in radians per
    token. The unit of time is a tubelet. Rows and columns are scaled to ``grid`` x ``grid`` patches, so that
    the code is interpolated for clips of another size.

    Args:
        shape: (t, h, w), number of tokens along each axis.
        dim: width of a token, a multiple of 6.
        grid: rows and columns of the patch grid.
        device: device of the result.

    Raises:
        ValueError: ``dim`` is not a multiple of 6.
    """
    if dim % 6:
        raise ValueError(f"the position code needs a width that is a multiple of 6, got {dim}")
    frequencies = 10000 ** -torch.linspace(0, 1, dim // 6, device=device)
    codes = []
    for axis, count in enumerate(shape):
        position = torch.arange(count, device=device, dtype=torch.float32)
        if axis > 0:
            position = (position + 0.5) * (grid / count) - 0.5
        angles = position[:, None] * frequencies
        code = torch.cat([angles.sin(), angles.cos()], dim=1)
        codes.append(code.view([count if a == axis else 1 for a in range(3)] + [-1]).expand(*shape, -1))
    return torch.cat(codes, dim=-1).flatten(0, 2)
