"""What an embedding has to do: its rows, which are known, and in which parts the others are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bodvcl.data.files.scan import ScanResult, scan
from bodvcl.data.files.stamp import Stamp, stamps
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets import BuiltInSettings
from bodvcl.embed.facts import differences, facts_of
from bodvcl.embed.file import RESERVED, About, read_about
from bodvcl.embed.options import EmbedOptions
from bodvcl.embed.parts import Parts
from bodvcl.embed.reading import Task
from bodvcl.embed.rows import Rows, plan_rows
from bodvcl.embed.tensors import checked_index
from bodvcl.embed.vectors import Embedder
from bodvcl.errors import DataError, UserError
from bodvcl.evaluate.reading import FRAMES_AT_ONCE
from bodvcl.text.words import counted, printable

SPLIT = "split"
"""Column of the splits of a list, among its labels."""

_NAMED = 10

_PART = 128
"""Approximate number of rows in a part: what an interruption may lose."""


@dataclass(frozen=True)
class Plan:
    """What an embedding has to do.

    Attributes:
        about: what its file will say about itself.
        videos: the videos, in the order of the file.
        stamps: their versions.
        labels: label column to the label of each video, None where it has none.
        rows: all rows.
        known: int64 ``(rows,)``: number of the row in the file that is there; -1: it is computed.
        todo: the rows that are computed, with ``place`` in ``rows``.
        place: int64: number in ``rows`` of each row of ``todo``.
        tasks: which rows of ``todo`` are read and embedded together.
        part: number of tasks in a part.
        notes: lines for the user.
    """

    about: About
    videos: Sequence[VideoInfo]
    stamps: Sequence[Stamp]
    labels: dict[str, list[str | None]]
    rows: Rows
    known: NDArray[np.int64]
    todo: Rows
    place: NDArray[np.int64]
    tasks: list[Task]
    part: int
    notes: list[str]

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-len(self.tasks) // self.part)

    def tasks_of(self, part: int) -> list[Task]:
        """The tasks of a part."""
        return self.tasks[part * self.part : (part + 1) * self.part]


def make_plan(options: EmbedOptions, embedder: Embedder) -> Plan:
    """Find the videos of an embedding, and what of it is done.

    The rows that are computed together depend on the videos and the options alone, neither on the number of
    processes nor on an interruption: so do the vectors, bit for bit.

    Raises:
        UserError: no usable video, no window that holds a clip, or a file at ``--out`` that is another's.
    """
    about = facts_of(options, embedder)
    Parts(options.out).refuse_other(about, restart=options.restart)
    updates = options.out.exists() and not options.restart
    if updates:
        refuse_other(options.out, about)
    settings = BuiltInSettings.of(embedder.config)
    found = scan(options.data, clip=embedder.clip, settings=settings, workers=options.workers)
    rows, left_out = plan_rows(found.videos, embedder.clip, options.window, options.every)
    labels, renamed = _labels(found)
    versions = stamps(found.videos)
    notes = [*found.summary(), *named("left out", left_out), *renamed]
    known = np.full(len(rows), -1, np.int64)
    if updates:
        known, gone = _known(options.out, rows, versions)
        again = len(np.unique(rows.video[known >= 0]))
        notes.append(f"{options.out}: {counted(again, 'video')} unchanged, their vectors are kept")
        if gone:
            notes.append(
                f"{counted(gone, 'video')} changed or no longer there: their old vectors are dropped"
            )
    place = np.flatnonzero(known < 0)
    size = max(1, FRAMES_AT_ONCE // (embedder.clip.frames * about.clips))
    tasks = [Task(start, min(start + size, len(place))) for start in range(0, len(place), size)]
    return Plan(
        replace(about, labels=list(labels)),
        found.videos,
        versions,
        labels,
        rows,
        known,
        rows.taken(place),
        place,
        tasks,
        -(-_PART // size),
        notes,
    )


def named(why: str, files: Sequence[tuple[str, str]]) -> list[str]:
    """Lines that name files with reasons, at most ten.

    Args:
        why: begins each line.
        files: (path, reason).
    """
    lines = [f"{why}: {printable(path)}: {reason}" for path, reason in files[:_NAMED]]
    return lines + ([f"... and {len(files) - _NAMED} more"] if len(files) > _NAMED else [])


def _labels(found: ScanResult) -> tuple[dict[str, list[str | None]], list[str]]:
    """The label columns, and a line for each that got another name."""
    told = [(video.labels, video.split or None) for video in found.videos]  # one pass: there may be millions
    names = dict.fromkeys(name for labels, _ in told for name in labels)
    called = {name: f"label_{name}" if name in RESERVED or name == SPLIT else name for name in names}
    columns: dict[str, list[str | None]] = {
        called[name]: [labels.get(name) or None for labels, _ in told] for name in names
    }
    lines = [
        f"the label column {printable(name)} becomes {printable(new)}: {name} is a column of its own"
        for name, new in called.items()
        if name != new
    ]
    splits = [split for _, split in told]
    return columns | ({SPLIT: splits} if any(splits) else {}), lines


def refuse_other(out: Path, about: About) -> None:
    """Refuse a file of embeddings that cannot be brought up to date.

    Raises:
        UserError: another kind of file, or one with other vectors; the message says what differs.
    """
    try:
        before = read_about(out)
    except DataError as error:
        raise DataError(
            f"--out: {out} is there and is no file of bodvcl embed: replace it with --restart, or choose "
            "another --out"
        ) from error
    why = differences(before, about)
    if before.data != about.data:
        why.insert(0, f"the data ({before.data}, now {about.data})")
    if why:
        raise UserError(
            f"--out: {out} is there and differs in {'; '.join(why)}; replace it with --restart, or choose "
            "another --out"
        )


def _known(out: Path, rows: Rows, versions: Sequence[Stamp]) -> tuple[NDArray[np.int64], int]:
    """Number in a file of each row whose video is unchanged, else -1; and the number of its other videos."""
    index = checked_index(out) if out.suffix == ".safetensors" else out
    table = pq.read_table(index, columns=["path", "video", "bytes", "modified", "start", "end"])
    videos = table["video"].to_numpy()
    first = np.flatnonzero(np.diff(videos, prepend=-1))
    count = np.diff(first, append=len(videos))
    one, last = table.take(first), table["end"].take(first + count - 1)
    columns = [one[name].to_pylist() for name in ("path", "bytes", "modified", "start")]
    old = {
        (Stamp(path, -1 if size is None else size, -1 if modified is None else modified), start, end): at
        for at, (path, size, modified, start, end) in enumerate(zip(*columns, last.to_pylist()))
    }
    known = np.full(len(rows), -1, np.int64)
    starts = np.searchsorted(rows.video, np.arange(len(versions)))
    stops = np.searchsorted(rows.video, np.arange(len(versions)), side="right")
    used = set()
    for version, start, stop in zip(versions, starts.tolist(), stops.tolist()):
        if start == stop:
            continue
        at = old.get((version, float(rows.start[start]), float(rows.end[stop - 1])))
        if at is not None and count[at] == stop - start:
            known[start:stop] = first[at] + np.arange(stop - start)
            used.add(at)
    return known, len(old) - len(used)
