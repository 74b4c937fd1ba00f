"""One command in a folder of its own: what it is called with, and whether it has finished."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bodvcl.errors import ConfigError
from bodvcl.runs.folder import write_atomically

RUN = "{run}"
"""In the options of a job: the folder of the run that it evaluates."""
OWN = "{own}"
"""In the ending of a job: its own run folder."""

SUMMARY = "summary.json"
"""Result of a training without a probe: finished when it says that all steps are done."""

TRAINING = ("--resume", "--log.no-report", "--run-dir", OWN)
"""What every pre-training gets: it begins, or goes on where it was interrupted."""
TUNING = ("--resume", "--run-dir", OWN)
"""What every training with labels gets."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command. Its folder holds ``arguments.json``, ``log.txt`` and the run folder ``run``.

    Attributes:
        folder: folder of the job.
        arguments: options that make the job what it is; they are kept in ``arguments.json``.
        module: what takes them: ``python -m module``.
        ending: options that every job of its kind gets, among them the place of its results.
        result: file in the run folder that is there when the job has finished.
        start: run that the job evaluates (:data:`RUN`); None: none.
    """

    folder: Path
    arguments: tuple[str, ...]
    module: str = "bodvcl.train"
    ending: tuple[str, ...] = TRAINING
    result: str = "probe.json"
    start: Path | None = None

    @property
    def run(self) -> Path:
        """Folder of what the command writes."""
        return self.folder / "run"

    @property
    def words(self) -> list[str]:
        """The arguments of the module, with every folder in its place."""
        places = {OWN: str(self.run), RUN: str(self.start)}
        words = []
        for word in (*self.arguments, *self.ending):
            for name, place in places.items():
                word = word.replace(name, place)
            words.append(word)
        return words

    @property
    def command(self) -> list[str]:
        """The whole command line."""
        return [sys.executable, "-m", self.module, *self.words]

    def begin(self) -> None:
        """Make the folder and note the arguments in it.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "arguments.json", json.dumps(self.arguments).encode())


def is_finished(job: Job) -> bool:
    """Whether the folder of the job holds a finished run.

    Raises:
        ConfigError: the run was made with other options.
    """
    made_with = job.folder / "arguments.json"
    if not made_with.exists():
        return False
    if json.loads(made_with.read_text(encoding="utf-8")) != list(job.arguments):
        raise ConfigError(
            f"{job.folder} holds a run made with other options: choose another --out, or remove that folder"
        )
    result = job.run / job.result
    return result.exists() and (job.result != SUMMARY or all_steps(result))


def all_steps(summary: Path) -> bool:
    """Whether the training was complete: a stopped one leaves a summary, too."""
    content = json.loads(summary.read_text(encoding="utf-8"))
    return int(content["steps"]) >= int(content["planned steps"])


def run_folder(out: Path, names: Sequence[str], seed: int) -> Path:
    """Folder of a run: its names as words, and the seed."""
    return out.joinpath(*map(as_word, names), str(seed))


def as_word(name: str) -> str:
    """A name as the name of a folder: letters, digits and dots; anything else becomes a dash."""
    return "".join(c if c.isalnum() or c == "." else "-" for c in name).strip("-")
