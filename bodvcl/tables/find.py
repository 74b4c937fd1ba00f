"""From the arguments of a table to the places that hold measurements."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from bodvcl.errors import DataError
from bodvcl.runs.results import RESULTS
from bodvcl.system.folders import expand
from bodvcl.tables.records import PROBE

_BEGUN = ("config.yaml", "arguments.json")
"""Files that a run writes when it begins; the second is that of a sweep's runs."""


def find_places(given: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Every run in the folders, files and patterns given.

    Args:
        given: run folders, folders of runs (a sweep's, for example), files of ``bodvcl probe --out``, or
            patterns (``runs/*``).

    Returns:
        Places with measurements, and folders of runs that have not finished; in the order given, each once.

    Raises:
        DataError: something given is not there, or holds no run.
    """
    finished: dict[Path, Path] = {}
    unfinished: dict[Path, Path] = {}
    for text in given:
        matches = _matches(text)
        found, begun = [], []
        for path in matches:
            if path.is_file():
                found.append(path)
            else:
                found += list(_with_results(path))
                begun += list(_begun(path))
        if not found and not begun:
            raise DataError(f"{text} holds no run: expected {RESULTS} or {PROBE} in it or in folders below")
        finished |= {path.resolve(): path for path in found}
        unfinished |= {path.resolve(): path for path in begun}
    return list(finished.values()), list(unfinished.values())


def _matches(text: str) -> list[Path]:
    path = expand(text)
    if path.exists():
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(path)))]
    if not matches:
        raise DataError(f"{text}: no such file or folder, and no pattern that matches one")
    return [match for match in matches if match.is_dir() or match.suffix == ".json"]


def _with_results(folder: Path) -> Iterator[Path]:
    """Folders with ``results.json`` or ``probe.json``: this one, or those below."""
    for file in sorted(folder.rglob(RESULTS)):
        if not list(file.parent.glob(f"split-*/{RESULTS}")):  # of a run over all splits its runs count
            yield file.parent
    for file in sorted(folder.rglob(PROBE)):
        if not (file.parent / RESULTS).exists():
            yield file.parent


def _begun(folder: Path) -> Iterator[Path]:
    """Folders of runs that have begun and hold no measurement, neither there nor in ``run`` below."""
    for name in _BEGUN:
        for file in sorted(folder.rglob(name)):
            run = file.parent / "run" if name == "arguments.json" else file.parent
            if name == "config.yaml" and (file.parent.parent / "arguments.json").exists():
                continue  # it is named as the job of a sweep
            if not any((run / result).exists() for result in (RESULTS, PROBE)):
                yield file.parent
