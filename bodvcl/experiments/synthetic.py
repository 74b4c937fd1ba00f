"""``python -m bodvcl.experiments.synthetic``: section 5.5 of the paper, reproduced.

Two small networks, one on the first frame and one on the motion field, are pre-trained with one loss on the
sum of their outputs (unified) or with one loss each (decoupled), on videos whose semantics are correlated
or not. The results are Figures 6 and 7 with our curves, a table, and a list of the paper's claims that says
which of them held.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from bodvcl.cli.console import run_verb
from bodvcl.config.command_line import parse
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.data.workers.process import (
    available_cores,
    end_with_parent,
    leave_signals_to_parent,
    process_context,
)
from bodvcl.errors import ConfigError
from bodvcl.experiments.two_stream import Loss, Record, train_two_stream
from bodvcl.experiments.two_stream_data import Correlation, make_videos
from bodvcl.experiments.two_stream_report import figure6, figure7, table, verdict
from bodvcl.runs.folder import create_folder, write_atomically
from bodvcl.text.progress import progress_bar
from bodvcl.text.tables import Listing, Row, show

RUNS: tuple[tuple[Correlation, Loss], ...] = (
    ("sc", "unified"),
    ("sc", "decoupled"),
    ("dc", "unified"),
    ("dc", "decoupled"),
    ("none", "unified"),
)
"""The settings of Figures 6 and 7."""


@dataclass
class SyntheticOptions:
    """Section 5.5: what correlated semantics do to a unified loss, and what a decoupled loss changes."""

    __pydantic_config__ = STRICT

    out: UserPath = Path("runs/synthetic")
    """Folder of the results. Runs that are already there with the same options are not repeated."""
    seeds: Annotated[int, Field(ge=1)] = 5
    """Repetitions, each with its own weights, batches and videos."""
    steps: Annotated[int, Field(ge=50, multiple_of=50)] = 500
    """Optimiser steps per run, in bfloat16 if the processor has it."""
    train_videos: Annotated[int, Field(ge=64)] = 1024
    """Videos to pre-train on."""
    probe_videos: Annotated[int, Field(ge=32, multiple_of=2)] = 768
    """Videos of the linear probe: one half trains it, the other half tests it. Always uncorrelated."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Runs at a time, each with one thread. None: one per core."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, then write figures, table and verdict; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)

    def experiment() -> int:
        options = parse(SyntheticOptions, arguments, prog="python -m bodvcl.experiments.synthetic")
        results = run_all(options)
        report(options.out, results)
        return 0

    return run_verb("experiments.synthetic", experiment)


Results = dict[tuple[Correlation, Loss], list[list[Record]]]


def run_all(options: SyntheticOptions) -> Results:
    """Run every setting and seed in parallel; finished runs are read from their files."""
    create_folder(options.out, "--out")
    tasks = [(setting, seed) for seed in range(options.seeds) for setting in RUNS]
    missing = [task for task in tasks if not _fits(options, *task)]
    if missing:
        workers = min(options.workers or available_cores(), len(missing))
        with (
            ProcessPoolExecutor(workers, process_context(), _start_worker) as pool,
            progress_bar(total=len(missing), desc="two-stream study", unit="run") as bar,
        ):
            futures = [pool.submit(_run_one, options, setting, seed) for setting, seed in missing]
            try:
                for future in as_completed(futures):
                    future.result()
                    bar.update()
            finally:
                pool.shutdown(cancel_futures=True)
    return {
        setting: [_read(_path(options, setting, seed)) for seed in range(options.seeds)] for setting in RUNS
    }


def report(out: Path, results: Results) -> None:
    """Write the figures, ``summary.json`` and ``findings.md`` into the folder; print the table and the
    verdict."""
    figure6(results, out / "figure6.png")
    figure7(results, out / "figure7.png")
    lines = verdict(results)
    rows = table(results)
    write_atomically(out / "summary.json", json.dumps({"rows": rows, "verdict": lines}, indent=1).encode())
    header = "| setting | loss | semantic | kind | before | after |\n|---|---|---|---|---|---|\n"
    body = "".join(
        f"| {r['setting']} | {r['loss']} | {r['semantic']} | {r['kind']} | {r['before']} | {r['after']} |\n"
        for r in rows
    )
    text = f"{header}{body}\n" + "".join(f"- {line}\n" for line in lines)
    write_atomically(out / "findings.md", text.encode())
    names, columns = ("setting", "loss", "semantic"), ("kind", "before", "after")
    accuracies = [Row([r[n] for n in names], {column: r[column] for column in columns}) for r in rows]
    show(Listing("accuracy in %, mean ± 95% interval", names, columns, accuracies), *lines)
    print(f"figure6.png, figure7.png, findings.md and summary.json are in\n  {out}")


def _run_one(options: SyntheticOptions, setting: tuple[Correlation, Loss], seed: int) -> None:
    correlation, loss = setting
    videos = make_videos(options.train_videos, correlation, seed=3 * seed)
    half = options.probe_videos // 2
    probe = tuple(make_videos(half, "none", seed=3 * seed + k) for k in (1, 2))
    records = train_two_stream(videos, (probe[0], probe[1]), loss, seed=seed, steps=options.steps)
    state = {"options": _identity(options), "records": [asdict(r) for r in records]}
    write_atomically(_path(options, setting, seed), json.dumps(state).encode())


def _start_worker() -> None:
    leave_signals_to_parent()
    end_with_parent()
    torch.set_num_threads(1)


def _identity(options: SyntheticOptions) -> dict[str, int]:
    return {name: getattr(options, name) for name in ("steps", "train_videos", "probe_videos")}


def _path(options: SyntheticOptions, setting: tuple[Correlation, Loss], seed: int) -> Path:
    return options.out / f"{setting[0]}-{setting[1]}-{seed}.json"


def _fits(options: SyntheticOptions, setting: tuple[Correlation, Loss], seed: int) -> bool:
    path = _path(options, setting, seed)
    if not path.exists():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))["options"]
    if found != _identity(options):
        raise ConfigError(
            f"{path} was made with {found}, not with {_identity(options)}: choose another --out, or remove it"
        )
    return True


def _read(path: Path) -> list[Record]:
    return [
        Record(**{**r, "gradient_norm": r["gradient_norm"] and tuple(r["gradient_norm"])})
        for r in json.loads(path.read_text(encoding="utf-8"))["records"]
    ]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
