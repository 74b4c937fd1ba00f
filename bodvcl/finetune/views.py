"""The test protocol: the mean probabilities of several views of each video.

A view is a clip at one of several places in time, in one of several squares of the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.batch import ClipBatch, ClipParams
from bodvcl.data.files.video import VideoInfo
from bodvcl.engine.ranks import Ranks
from bodvcl.evaluate.reading import read_clips
from bodvcl.finetune.saved import probabilities
from bodvcl.models.layout import memory_layout
from bodvcl.text.progress import progress_bar


@dataclass(frozen=True)
class Views:
    """Views of a video.

    Attributes:
        clips: clips, spread evenly over the video.
        crops: 1: the centred square of each clip; 3: squares at both ends and the centre of the longer side.
        size: height and width of a view in pixels.
    """

    clips: int
    crops: int
    size: int

    def __str__(self) -> str:
        return f"{self.clips} x {self.crops} views of {self.size} pixels"


@dataclass(frozen=True)
class Predictions:
    """What a network says of the videos that can be read.

    Attributes:
        rows: int64 (N,): their numbers in the list, increasing.
        probabilities: float64 (N, classes): mean over the views.
    """

    rows: NDArray[np.int64]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Viewer:
    """How clips are read and given to a network.

    Attributes:
        clip: length, stride and frame rate of a clip.
        mean, std: normalisation.
        multi_label: whether each class is decided by itself.
        ranks: each takes its share of the videos.
        at_once: most views in a pass, which bounds the memory.
        workers: decoding processes; None: by the number of cores.
        fast: memory layout of the clips, as in the training.
    """

    clip: ClipConfig
    mean: float
    std: float
    multi_label: bool
    ranks: Ranks
    at_once: int
    workers: int | None
    fast: bool

    def predict(
        self,
        network: Callable[[Tensor], Tensor],
        videos: Sequence[VideoInfo],
        views: Views,
        what: str | None = None,
    ) -> Predictions:
        """Predictions for videos, the same on every rank. Only probabilities are kept, never clips.

        Args:
            network: clips ``(N, 3, L, H, W)`` to logits ``(N, classes)``, in evaluation mode.
            videos: videos to read.
            views: views of each.
            what: what is done, for a progress bar. None: there is none.

        Raises:
            DataError: a decoding process died.
        """
        ranks = self.ranks
        own = range(ranks.rank, len(videos), ranks.size)
        clip = replace(self.clip, size=views.size)
        read = read_clips(
            [videos[row] for row in own],
            clip,
            clips_per_video=views.clips,
            crops=views.crops,
            workers=self.workers,
        )
        rows: list[int] = []
        found: list[Tensor] = []
        with progress_bar(
            desc=what, total=len(own), unit="video", disable=what is None or not ranks.first
        ) as bar:
            for batch in read:
                rows += [own[place] for place in batch.videos.tolist()]
                found.append(self._means(network, batch, views))
                bar.update(int(batch.videos[-1]) + 1 - bar.n)
        shares = ranks.gathered((rows, torch.cat(found).numpy() if found else None))
        together = [
            (row, values) for rows, part in shares if part is not None for row, values in zip(rows, part)
        ]
        together.sort(key=lambda pair: pair[0])
        return Predictions(
            np.array([row for row, _ in together], dtype=np.int64),
            np.array([values for _, values in together], dtype=np.float64),
        )

    def _means(self, network: Callable[[Tensor], Tensor], batch: ClipBatch, views: Views) -> Tensor:
        """float64 ``(videos, classes)`` on the host."""
        plain = AugmentConfig(mix=0.0, mean=self.mean, std=self.std)
        layout = memory_layout(self.fast)
        found = [
            probabilities(network(finish(part, plain, self.ranks.device, layout)), self.multi_label)
            for part in _in_parts(batch, self.at_once)
        ]
        each = torch.cat(found).double().view(len(batch.videos), views.clips * views.crops, -1)
        return each.mean(1).cpu()


def _in_parts(batch: ClipBatch, most: int) -> Iterator[ClipBatch]:
    """The clips of a batch, some at a time; the parts still name all its videos."""
    for start in range(0, len(batch.clips), most):
        part = slice(start, start + most)
        params = ClipParams(*(getattr(batch.params, f.name)[part] for f in fields(ClipParams)))
        yield replace(batch, clips=batch.clips[part], params=params, frames=batch.frames[part])


def squares(videos: Sequence[VideoInfo]) -> int:
    """Number of videos with square frames, whose crops are all the same."""
    return sum(video.height == video.width for video in videos)
