"""Batches of clips around key frames, decoded in worker processes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bodvcl.data.clips.order import epoch_order, spare_videos, step_videos
from bodvcl.data.files.video import BadVideo
from bodvcl.data.workers.each import Lost, each
from bodvcl.detect.clips import KeyFrameClips, Seen
from bodvcl.detect.examples import Example
from bodvcl.errors import DataError

_AHEAD = 2  # batches per worker that are decoded or wait

Row = tuple[int, Seen]
"""The number of an example, and its clip."""


@dataclass(frozen=True)
class DetectionBatch:
    """N clips and the K people in them.

    Attributes:
        clips: uint8 (N, L, H, W, 3) RGB.
        boxes: float32 (K, 5): number of the clip, then x1, y1, x2, y2 in pixels of the clip.
        labels: float32 (K, actions), 0 or 1.
        people: int64 (K, 2): number of the example, and which of its people this is.
        failures: (path, reason) of films that could not be read.
    """

    clips: Tensor
    boxes: Tensor
    labels: Tensor
    people: Tensor
    failures: tuple[tuple[str, str], ...] = ()

    def to(self, device: torch.device) -> DetectionBatch:
        """The same batch on another device."""
        moved = {
            field.name: getattr(self, field.name).to(device, non_blocking=True)
            for field in dataclasses.fields(self)
            if field.name != "failures"
        }
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True)
class TrainingSteps:
    """Maps the number of a step to this rank's share of its batch. A pure function of the arguments.

    An example whose film cannot be read is replaced by one that is not in the batch, and named in the batch.
    """

    clips: KeyFrameClips
    batch_size: int
    seed: int
    epoch: int
    start: int
    rank: int
    ranks: int

    def __call__(self, number: int) -> DetectionBatch | DataError:
        step, count = self.start + number, len(self.clips.examples)
        share = self.rank, self.ranks
        order = epoch_order(self.seed, self.epoch, count)
        wanted = step_videos(order, step, self.batch_size, *share).tolist()
        spares = spare_videos(self.seed, self.epoch, step, count, self.batch_size, *share)
        rows: list[Row] = []
        failures = []
        for index in itertools.chain(wanted, spares):
            if len(rows) == len(wanted):
                break
            try:
                rows.append((index, self.clips.training(index, self.seed, self.epoch)))
            except BadVideo as bad:
                failures.append((bad.path, bad.reason))
        if len(rows) < len(wanted):
            return DataError(f"too few films can be read to fill a batch: {': '.join(failures[-1])}")
        return joined(rows, self.clips.examples, failures)


@dataclass(frozen=True)
class EvaluationSteps:
    """Maps the number of a chunk to the clips of its key frames, which are of one film."""

    clips: KeyFrameClips
    chunks: Sequence[Sequence[int]]

    def __call__(self, number: int) -> DetectionBatch | DataError:
        rows: list[Row] = []
        failures = []
        for index in self.chunks[number]:
            try:
                rows.append((index, self.clips.whole(index)))
            except BadVideo as bad:
                failures.append((bad.path, bad.reason))
        return joined(rows, self.clips.examples, failures)


def joined(
    rows: Sequence[Row],
    examples: Sequence[Example],
    failures: Sequence[tuple[str, str]] = (),
) -> DetectionBatch:
    """Clips of one size as a batch; without clips all its tensors are empty."""
    boxes = [np.insert(seen, 0, place, axis=1) for place, (_, (_, seen, _)) in enumerate(rows)]
    labels = [examples[index].labels[people] for index, (_, _, people) in rows]
    who = [np.stack([np.full(len(people), index), people], 1) for index, (_, _, people) in rows]
    if not rows:
        nothing = torch.zeros(0)
        return DetectionBatch(nothing, nothing, nothing, nothing, tuple(failures))
    return DetectionBatch(
        torch.stack([clip for _, (clip, _, _) in rows]),
        torch.from_numpy(np.concatenate(boxes).astype(np.float32)),
        torch.from_numpy(np.concatenate(labels).astype(np.float32)),
        torch.from_numpy(np.concatenate(who)),
        tuple(failures),
    )


def chunks(examples: Sequence[Example], numbers: Sequence[int], size: int) -> list[list[int]]:
    """Examples in groups of at most ``size``, each of one film and in the order of time."""
    found = []
    ordered = sorted(numbers, key=lambda number: examples[number].key)
    for _, group in itertools.groupby(ordered, key=lambda number: examples[number].film):
        film = list(group)
        found += [film[start : start + size] for start in range(0, len(film), size)]
    return found


def read_all(read: TrainingSteps | EvaluationSteps, count: int, workers: int) -> Generator[DetectionBatch]:
    """Batches 0 .. count - 1 in order, decoded in processes; 0: in this one.

    Raises:
        DataError: a process died, or too few films can be read.
    """
    for batch in each(read, count, workers=workers, ahead=_AHEAD):
        if isinstance(batch, Lost):
            raise DataError(
                f"a decoding process ended ({batch.reason}): memory ran out (lower --workers), or a file "
                "crashes the decoder (find it with bodvcl data scan)"
            )
        if isinstance(batch, DataError):
            raise batch
        yield batch


def normalised(clips: Tensor, mean: float, std: float) -> Tensor:
    """Bytes ``(N, L, H, W, 3)`` to what backbones take: ``(N, 3, L, H, W)`` float32, (rgb - mean) / std with
    RGB in [0, 1]."""
    return (clips.permute(0, 4, 1, 2, 3).float() / 255 - mean) / std
