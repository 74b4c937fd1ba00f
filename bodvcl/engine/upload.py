"""Clips on their way to a GPU, beside what it works on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, replace
from typing import NamedTuple, TypeVar

import torch

from bodvcl.data.clips.batch import ClipBatch, ClipParams

Item = TypeVar("Item")
Result = TypeVar("Result")


def uploaded(batches: Iterable[ClipBatch], device: torch.device) -> Iterator[ClipBatch]:
    """The same batches, with clips and videos on the device; their parameters are in pinned memory.

    A thread copies each batch into pinned memory and, on a stream of its own, to the GPU, as bytes. It is one
    batch ahead, so one more is asked for before the first is given. Nothing changes for a CPU, or where the
    decoder left the clips on the GPU: it may use their memory again for its next batch.

    Args:
        batches: batches in the order of their use.
        device: device of the training.
    """
    waiting = iter(batches)
    first = next(waiting, None)
    if first is None:
        return
    batches = itertools.chain([first], waiting)
    if device.type != "cuda" or first.clips.is_cuda:
        yield from batches
        return
    beside = torch.cuda.Stream(device)
    for batch, there in one_ahead(batches, lambda batch: _upload(batch, device, beside)):
        now = torch.cuda.current_stream(device)
        now.wait_event(there)
        for x in (batch.clips, batch.videos):
            x.record_stream(now)  # its memory is not given away while this stream may read it
        yield batch


def one_ahead(items: Iterable[Item], work: Callable[[Item], Result]) -> Iterator[Result]:
    """``work(item)`` for each item, in order, done by a thread while the result before it is used.

    An error of ``items`` or of ``work`` is raised where the result is asked for.
    """
    with ThreadPoolExecutor(1) as thread:
        before: Future[Result] | None = None
        for item in items:
            present = thread.submit(work, item)
            if before is not None:
                yield before.result()
            before = present
        if before is not None:
            yield before.result()


class _Upload(NamedTuple):
    """A batch whose tensors are on the device when ``there`` has happened."""

    batch: ClipBatch
    there: torch.cuda.Event


def _upload(batch: ClipBatch, device: torch.device, beside: torch.cuda.Stream) -> _Upload:
    with torch.cuda.device(device), torch.cuda.stream(beside):
        clips, videos = (x.pin_memory().to(device, non_blocking=True) for x in (batch.clips, batch.videos))
        params = ClipParams(*(getattr(batch.params, f.name).pin_memory() for f in fields(ClipParams)))
        return _Upload(replace(batch, clips=clips, videos=videos, params=params), beside.record_event())
