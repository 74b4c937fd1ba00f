"""The classifier: backbone, pooling, normalisation, dropout, linear layer; and which part of it trains."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor, nn

from bodvcl.errors import ConfigError
from bodvcl.finetune.task import ParameterGroup
from bodvcl.models.backbones.base import Backbone
from bodvcl.models.encoder import mean_and_std

_LAST = re.compile(r"last-(\d+)")


class VideoClassifier(nn.Module):
    """Logits of classes for clips.

    Args:
        backbone: maps clips to features per frame.
        classes: number of classes.
        dropout: probability that a feature is left out before the linear layer.
        trained: number of parts of the backbone that train, counted from its end.
        frozen_norm: "fixed": what does not train stays in evaluation mode; "updated": it goes with the rest.
        pooling: "mean" or "mean_std": what a clip is of its features over time.
        head_norm: whether each pooled feature is standardised, by batch normalisation without weights.

    Raises:
        ConfigError: the backbone has fewer parts.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        dropout: float,
        trained: int,
        frozen_norm: str = "fixed",
        pooling: str = "mean",
        head_norm: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self._deviates = pooling == "mean_std"
        width = backbone.dim * (2 if self._deviates else 1)
        self.norm = nn.BatchNorm1d(width, affine=False) if head_norm else nn.Identity()
        self.head = nn.Linear(width, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self._trained, self._fixed = trained, frozen_norm == "fixed"

    def forward(self, clips: Tensor) -> Tensor:
        """Logits ``(N, classes)``, float32, of clips ``(N, 3, L, H, W)``."""
        features: Tensor = self.backbone(clips)
        pooled = mean_and_std(features) if self._deviates else features.mean(1)
        logits: Tensor = self.head(self.dropout(self.norm(pooled)))
        return logits.float()

    def train(self, mode: bool = True) -> VideoClassifier:
        """Training or evaluation mode; with ``frozen_norm`` "fixed" what does not train stays in evaluation
        mode."""
        super().train(mode)
        if self._fixed:
            for part in self.frozen_parts():
                for module in part:
                    module.eval()
        return self

    def frozen_parts(self) -> Sequence[Sequence[nn.Module]]:
        """The parts of the backbone that do not train."""
        parts = self.backbone.parts()
        return parts[: len(parts) - self._trained]

    def groups(self, layer_decay: float = 1.0) -> list[ParameterGroup]:
        """What trains, from the linear layer to the deepest part that does.

        Args:
            layer_decay: d. The last part has a learning rate of d times that of the linear layer, the part
                before it of d^2, and so on (BEiT, arXiv:2106.08254).
        """
        groups = [ParameterGroup(1.0, list(self.head.parameters()))]
        for depth, part in enumerate(reversed(self.backbone.parts()[len(self.frozen_parts()) :]), start=1):
            parameters = [p for module in part for p in module.parameters()]
            groups.append(ParameterGroup(layer_decay**depth, parameters))
        return groups


def trained_parts(tune: str, backbone: Backbone) -> int:
    """Number of parts of a backbone that train, from its end.

    Args:
        tune: "all", "head" or "last-K".
        backbone: the backbone.

    Raises:
        ConfigError: another text, or a K that is not between 1 and the number of parts.
    """
    count = len(backbone.parts())
    if tune in ("all", "head"):
        return count if tune == "all" else 0
    match = _LAST.fullmatch(tune)
    if match is None:
        raise ConfigError(f"--tune {tune}: expected all, head or last-K, such as last-1")
    if not 1 <= int(match[1]) <= count:
        raise ConfigError(
            f"--tune {tune}: {backbone.name} has {count} parts: use last-1 to last-{count}, or head"
        )
    return int(match[1])
