"""An embedding from its options: what is missing is computed part by part, then the file is written."""

from __future__ import annotations

import contextlib
import glob
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodvcl.data.workers.process import default_workers
from bodvcl.embed.assemble import assemble
from bodvcl.embed.file import TIMES
from bodvcl.embed.options import EmbedOptions
from bodvcl.embed.parts import Parts
from bodvcl.embed.plan import Plan, make_plan, named
from bodvcl.embed.reading import read_rows
from bodvcl.embed.rows import frame_ends
from bodvcl.embed.tensors import index_of
from bodvcl.embed.vectors import Embedded, Embedder, embed_batches, feature_times, open_embedder
from bodvcl.engine.ranks import Ranks
from bodvcl.errors import DataError
from bodvcl.runs.lock import locked
from bodvcl.system.global_state import restored
from bodvcl.text.progress import progress_bar
from bodvcl.text.words import counted


@restored()
def embed(
    options: EmbedOptions, ranks: Ranks, *, workers: int | None = None, say: Callable[[str], None] = print
) -> None:
    """Write the file of an embedding. Global state of PyTorch is put back at the end.

    Args:
        options: what to embed and how, checked.
        ranks: the processes that share the work; they communicate.
        workers: decoding processes of this one. None: chosen from the number of cores.
        say: takes lines for the user.

    Raises:
        UserError: a checkpoint, data, options or a file that cannot be used; see the class's subclasses.
    """
    begun = time.monotonic()
    embedder = open_embedder(options.checkpoint, options.clip, ranks.device)
    plan = ranks.tell(lambda: make_plan(options, embedder))
    for line in plan.notes:
        say(line)
    if options.dry_run:
        say(f"{options.out} would have {_rows(len(plan.rows), plan)}; {len(plan.todo):,} are to be computed")
        return
    parts = Parts(options.out)
    with contextlib.ExitStack() as held:
        missing = ranks.tell(lambda: _begin(parts, plan, options, held))
        if len(missing) < plan.parts:
            say(f"continues: {plan.parts - len(missing)} of {plan.parts} parts were done before")
        try:
            own = missing[ranks.rank :: ranks.size]
            _compute(plan, embedder, own, parts, default_workers() if workers is None else workers)
        except KeyboardInterrupt:
            say(f"what is done is kept in {parts.folder}; the same command continues")
            raise
        ranks.gathered(None)  # all have ended
        say(ranks.tell(lambda: _end(plan, parts, options, begun)))


def _begin(parts: Parts, plan: Plan, options: EmbedOptions, held: contextlib.ExitStack) -> list[int]:
    """Open the folder of the parts, for this process and its peers; returns the parts that are missing."""
    parts.folder.mkdir(parents=True, exist_ok=True)
    held.enter_context(locked(parts.folder, "--out"))
    for file in _files(options.out):  # of a command that was killed while it wrote them
        for stale in file.parent.glob(f".{glob.escape(file.name)}.*.part"):
            stale.unlink()
    todo = [plan.stamps[number] for number in plan.todo.video.tolist()]
    parts.begin(plan.about, todo, restart=options.restart)
    return [number for number in range(plan.parts) if not parts.done(number)]


def _compute(plan: Plan, embedder: Embedder, numbers: Sequence[int], parts: Parts, workers: int) -> None:
    """Compute some parts, in order."""
    tasks = [task for number in numbers for task in plan.tasks_of(number)]
    batches = read_rows(plan.videos, plan.todo, embedder.clip, plan.about.clips, tasks, workers)
    results = embed_batches(embedder, batches, plan.about.clips, frames=bool(plan.about.frames))
    if not tasks:
        return
    total = sum(task.stop - task.start for task in tasks)
    unit = "video" if plan.about.window is None else "window"
    with progress_bar(desc="embedding", total=total, unit=unit) as bar, contextlib.closing(results):
        for number in numbers:
            own = plan.tasks_of(number)
            done = []
            for task, result in zip(own, itertools.islice(results, len(own)), strict=True):
                done.append(result)
                bar.update(task.stop - task.start)
            _save(plan, number, done, parts)


def _save(plan: Plan, number: int, done: Sequence[Embedded], parts: Parts) -> None:
    """Write a part from what its batches gave."""
    some = [one for one in done if one.rows]
    vectors = {
        name: np.concatenate([one.vectors[name] for one in some])
        for name in (some[0].vectors if some else ())
    }
    if some and plan.about.frames:
        vectors[TIMES] = np.array([times for one in some for times in _times(plan, one)])
    rows = [row for one in some for row in one.rows]
    parts.save(number, rows, vectors, [failure for one in done for failure in one.failures])


def _times(plan: Plan, one: Embedded) -> Iterator[NDArray[np.float64]]:
    for row, numbers in zip(one.rows, one.shown):
        video = plan.videos[int(plan.todo.video[row])]
        yield video.begins + feature_times(numbers, frame_ends(video)[0], plan.about.frames[0])


def _end(plan: Plan, parts: Parts, options: EmbedOptions, begun: float) -> str:
    """Write the file; returns the last words."""
    failures = list(dict.fromkeys(parts.failures(plan.parts)))
    lines = named("could not be read", failures)
    try:
        rows = assemble(plan, parts, options.out)
    except DataError as error:
        parts.remove()
        raise DataError("\n".join([*lines, str(error)])) from error
    parts.remove()
    size = sum(file.stat().st_size for file in _files(options.out)) / 2**20
    seconds = time.monotonic() - begun
    unread = len({path for path, _ in failures})
    bad = f"; {counted(unread, 'video')} could not be read" if unread else ""
    lines.append(f"wrote {options.out}: {_rows(rows, plan)}, {size:.1f} MB, {seconds:.1f} s{bad}")
    return "\n".join(lines)


def _files(out: Path) -> list[Path]:
    return [out, index_of(out)] if out.suffix == ".safetensors" else [out]


def _rows(count: int, plan: Plan) -> str:
    window = plan.about.window
    return counted(count, "video") if window is None else f"{counted(count, 'window')} of {window:g} s"
