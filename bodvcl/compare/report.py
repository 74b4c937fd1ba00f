"""Report the finished trainings of the comparison: files in its folder and a table on the terminal."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bodvcl.compare.plan import Task
from bodvcl.compare.summary import (
    Cell,
    Ending,
    Line,
    ProbeRows,
    costs,
    skipped_labels,
    summarise,
)
from bodvcl.compare.tables import markdown, plot, tables
from bodvcl.compare.verdict import verdicts
from bodvcl.errors import ConfigError, DataError
from bodvcl.runs.folder import write_atomically
from bodvcl.sweep.job import SUMMARY, all_steps, is_finished
from bodvcl.text.tables import show

_INTERVALS = (
    "Read from z, the frozen features. The intervals are over the seeds, on these test videos: they do not "
    "say what other videos would give."
)


def reported(tasks: Sequence[Task]) -> list[Task]:
    """The finished trainings that can be compared: in each data set and method, the seeds that all variants
    have. A variant that shares no seed with those before it is left out."""
    finished: dict[tuple[str, str], dict[Cell, set[int]]] = defaultdict(lambda: defaultdict(set))
    for task in tasks:
        if is_finished(task):
            finished[task.cell.data, task.cell.method][task.cell].add(task.seed)
    seeds: dict[Cell, set[int]] = {}
    for cells in finished.values():
        common = next(iter(cells.values()))
        kept = []
        for cell, own in cells.items():
            if common & own:
                common = common & own
                kept.append(cell)
        seeds |= dict.fromkeys(kept, common)
    return [task for task in tasks if task.seed in seeds.get(task.cell, ())]


def report(tasks: Sequence[Task], out: Path, name: str, minutes: float | None) -> list[Line]:
    """Write the table as .md and .json, the trainings that it leaves out as .left_out.json, and a plot as
    .png; print the table.

    Args:
        tasks: all trainings.
        out: folder of the files.
        name: their name, without ending.
        minutes: time limit that the trainings had.

    Returns:
        What the table shows.

    Raises:
        ConfigError: no training was finished in time.
        DataError: no training could be probed, or no label in any of them.
    """
    shown = reported(tasks)
    if not shown and (minutes is None or any(map(_without_probe, tasks))):
        failed = next(filter(_without_probe, tasks), tasks[0])
        raise DataError(f"no run could be probed: {failed.folder / 'log.txt'} says why")
    if not shown:
        raise ConfigError(
            f"no run was finished within {minutes:g} minutes: "
            "give the same command again, with more --minutes, to go on"
        )
    cells = {task.cell for task in shown}
    probed: dict[Cell, list[ProbeRows]] = {task.cell: [] for task in tasks if task.cell in cells}
    endings: dict[Cell, list[Ending]] = {cell: [] for cell in probed}
    for task in shown:
        probed[task.cell].append(_json(task.folder / "run" / "probe.json")["rows"])
        endings[task.cell].append(_ending(task.folder / "run"))
    summary, cost, skipped = summarise(probed), costs(endings), skipped_labels(probed)
    if not summary:
        raise DataError(f"no label could be probed ({'; '.join(skipped)}); use more videos for the probe")
    left_out = [task for task in tasks if task not in shown]
    listings = tables(summary, cost)
    more = [_left_out(left_out)] if left_out else []
    more += [f"Not probed: {'; '.join(skipped)}.\n"] if skipped else []
    told = verdicts(probed)
    more += [f"{line}\n" for line in told] + ([f"{_INTERVALS}\n"] if told else [])
    text = "\n".join([markdown(listings), *more])
    write_atomically(out / f"{name}.md", text.encode())
    write_atomically(
        out / f"{name}.json",
        json.dumps(
            {"accuracy": [asdict(line) for line in summary], "cost": [asdict(line) for line in cost]},
            indent=1,
        ).encode(),
    )
    write_atomically(
        out / f"{name}.left_out.json",
        json.dumps(
            [{**asdict(task.cell), "seed": task.seed, "finished": is_finished(task)} for task in left_out],
            indent=1,
        ).encode(),
    )
    plot(summary, out / f"{name}.png")
    show(*listings, *more)
    print(f"{name}.md, .json and .png are in\n  {out}")
    return summary


def _without_probe(task: Task) -> bool:
    """Whether the training is complete and its probe is missing."""
    summary = task.run / SUMMARY
    return summary.exists() and all_steps(summary) and not is_finished(task)


def _ending(run: Path) -> Ending:
    last = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    empty = [last[name] for name in ("empty_static", "empty_dynamic") if name in last]
    return Ending(_json(run / "summary.json")["seconds"], max(empty, default=None))


def _left_out(tasks: Sequence[Task]) -> str:
    """A paragraph that names the trainings that are not in the table."""
    lines = []
    reasons = {False: "Not finished", True: "Finished, but not for every variant shown"}
    for finished, why in reasons.items():
        seeds: dict[Cell, list[str]] = defaultdict(list)
        for task in tasks:
            if is_finished(task) is finished:
                seeds[task.cell].append(str(task.seed))
        named = [
            f"{cell.data}, {cell.method}, {cell.variant} (seed {', '.join(numbers)})"
            for cell, numbers in seeds.items()
        ]
        if named:
            lines.append(f"{why}, and left out: {'; '.join(named)}.\n")
    return "\n".join(lines)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
