"""Classification as a task of the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.source import ClipSource
from bodvcl.engine.upload import uploaded
from bodvcl.finetune.labels import Labels
from bodvcl.finetune.mixing import make_mix
from bodvcl.finetune.network import VideoClassifier
from bodvcl.finetune.options import FinetuneOptions
from bodvcl.finetune.scores import score
from bodvcl.finetune.task import ParameterGroup
from bodvcl.finetune.views import Viewer, Views
from bodvcl.models.layout import memory_layout


class ClassificationTask:
    """Trains a classifier on the clips of a source.

    Args:
        network: the classifier.
        plan: what each step sees; one clip for each of its videos.
        source: gives the clips of the plan.
        labels: classes and targets.
        val: videos to validate on; perhaps none.
        viewer: reads their views.
        options: loss and learning rates.

    Attributes:
        model: the classifier.
        steps_per_epoch: steps of an epoch.
    """

    def __init__(
        self,
        network: VideoClassifier,
        plan: ClipPlan,
        source: ClipSource,
        labels: Labels,
        val: Sequence[VideoInfo],
        viewer: Viewer,
        options: FinetuneOptions,
    ) -> None:
        self.model: nn.Module = network
        self.steps_per_epoch = source.steps_per_epoch
        self._network, self._plan, self._source, self._labels = network, plan, source, labels
        self._val, self._viewer, self._options = val, viewer, options
        self._device = viewer.ranks.device
        self._mix = make_mix(options.mixup, options.cutmix, len(labels.classes))
        self._targets = labels.targets(plan.videos)

    def groups(self) -> list[ParameterGroup]:
        """The linear layer and what trains of the backbone."""
        return self._network.groups(self._options.layer_decay)

    def batches(self, epoch: int, start_step: int) -> Iterator[ClipBatch]:
        """This rank's clips, on the device where that is a GPU."""
        return uploaded(self._source.epoch(epoch, start_step), self._device)

    def loss(self, batch: ClipBatch) -> Tensor:
        """Cross entropy; with several classes per video the mean of the binary ones."""
        clips = finish(batch, self._plan.augment, self._device, memory_layout(self._options.fast))
        targets = self._targets[batch.videos.cpu()].to(self._device, non_blocking=True)
        if self._mix is not None:
            clips, targets = self._mix(clips, targets)
        logits = self._network(clips)
        if self._labels.multi:
            return F.binary_cross_entropy_with_logits(logits, targets)
        return F.cross_entropy(logits, targets, label_smoothing=self._options.label_smoothing)

    def validate(self) -> Mapping[str, float]:
        """The scores of one centred view of each video that validates."""
        if not self._val:
            return {}
        views = Views(1, 1, self._plan.clip.size)
        found = self._viewer.predict(self._network, self._val, views)
        if not len(found.rows):
            return {}
        targets = self._labels.targets([self._val[row] for row in found.rows])
        return score(found.probabilities, targets).metrics

    def close(self) -> None:
        """End decoding processes."""
        self._source.close()
