"""Actions of people in boxes: a backbone, and a head that looks at the features inside of each box."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from bodvcl.models.backbones.base import Backbone

ROI_CELLS = 7
"""Height and width of the grid that a box is resampled to, as in SlowFast (``ROI_XFORM_RESOLUTION``)."""


class ActionDetector(nn.Module):
    """Logits of the actions of people, each given by a box on the clip.

    The last feature map is averaged over time; RoIAlign (He et al., arXiv:1703.06870; aligned, adaptive
    sampling) resamples each box to 7 x 7 cells; their maximum goes through dropout and a linear layer.

    Args:
        backbone: gives feature maps ``(N, D, T, h, w)``.
        cell: pixels of the clip per cell of the feature map, in height and in width.
        outputs: number of actions.
        dropout: share of the features that are zeroed while training.
    """

    def __init__(self, backbone: Backbone, cell: int, outputs: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.backbone = backbone
        self.cell = cell
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.dim, outputs)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, clips: Tensor, boxes: Tensor) -> Tensor:
        """Logits ``(K, outputs)``, float32.

        Args:
            clips: ``(N, 3, L, H, W)``.
            boxes: ``(K, 5)`` float32: number of the clip, then x1, y1, x2, y2 in pixels of the clip.
        """
        map_ = self.backbone.maps(clips)[-1].mean(2)
        with torch.autocast(map_.device.type, enabled=False):  # box corners need float32
            return self.classify(map_.float(), boxes)

    def classify(self, map_: Tensor, boxes: Tensor) -> Tensor:
        """Logits ``(K, outputs)`` of boxes on a feature map ``(N, D, h, w)``."""
        cells = roi_align(map_, boxes, ROI_CELLS, spatial_scale=1 / self.cell, aligned=True)
        logits: Tensor = self.head(self.dropout(cells.amax((-2, -1))))
        return logits
