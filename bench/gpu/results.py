"""What the steps found: one JSON file and one archive of logs, written after every step, and a summary."""

from __future__ import annotations

import json
import os
import re
import tarfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.collect import benchmarks_summary, git, tests_summary
from bench.gpu.process import Outcome
from bench.gpu.steps import Step

LINES = 60
"""Most lines of a summary."""
ARCHIVE_BYTES = 15 * 2**20
"""Most bytes of files that go into the archive, before compression; logs come first."""

MAIN = (
    "speedup_over",
    "ratio",
    "times_",
    "mfu",
    "roofline",
    "graph_s",
    "kernels_s",
    "peak_bytes",
    "clips_per_second",
)
"""Parts of the names of figures that a summary shows."""

Found = Mapping[str, tuple[Step, Outcome]]


def commit(root: Path) -> str | None:
    """What is measured: the file COMMIT, or what git says."""
    given = root / "COMMIT"
    if given.exists():
        return given.read_text().strip() or None
    return git("describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*")


def stem(gpu: str) -> str:
    """Name of the result files without their ending."""
    slug = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-") or "none"
    return f"gpu-{slug}-{time.strftime('%Y-%m-%d')}"


def read_json(path: Path) -> Any:
    """Contents of a JSON file; None where it is missing or was not finished."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def tests_of(folder: Path) -> dict[str, Any]:
    """What a step's tests said; empty without any, or where they were not finished."""
    try:
        return tests_summary(folder / "tests.xml")
    except ET.ParseError:
        return {}


def benchmarks_of(folder: Path) -> list[dict[str, Any]]:
    """What a step's benchmarks said; where they were killed, those that had ended by then."""
    for name in ("bench.json", "bench.json.part"):
        try:
            found = benchmarks_summary(folder / name)
        except ValueError:
            found = []
        if found:
            return found
    return []


def record(work: Path, gpu: str, commit: str | None, found: Found) -> dict[str, Any]:
    """Everything that is known, for the JSON file."""
    steps = []
    for name, (step, outcome) in found.items():
        folder = work / "steps" / name
        entry: dict[str, Any] = {"name": name, "proves": step.proves, **outcome._asdict()}
        entry |= {
            key: value
            for key, value in (
                ("tests", tests_of(folder)),
                ("benchmarks", benchmarks_of(folder)),
                ("figures", read_json(folder / "figures.json")),
            )
            if value
        }
        steps.append(entry)
    return {
        "device": gpu or None,
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit,
        "machine": read_json(work / "steps" / "machine" / "machine.json"),
        "package": read_json(work / "steps" / "package" / "package.json"),
        "steps": steps,
    }


def save(out: Path, work: Path, gpu: str, commit: str | None, found: Found) -> None:
    """Write both files, each whole or not at all."""
    path = out / f"{stem(gpu)}.json"
    _replace(path, lambda to: to.write_text(json.dumps(record(work, gpu, commit, found), indent=1) + "\n"))
    _replace(out / f"{stem(gpu)}-logs.tar.gz", lambda to: _archive(work / "steps", to))


def _replace(path: Path, write: Any) -> None:
    part = path.with_name(path.name + ".part")
    write(part)
    os.replace(part, path)


def _archive(steps: Path, to: Path) -> None:
    """All that the steps left, logs first; what is too large is left out."""
    files = sorted(
        (f for f in steps.rglob("*") if f.is_file()),
        key=lambda f: (f.suffix not in (".txt", ".json", ".xml"), f.stat().st_size),
    )
    left = ARCHIVE_BYTES
    with tarfile.open(to, "w:gz") as archive:
        for file in files:
            size = file.stat().st_size
            if size <= left:
                archive.add(file, str(file.relative_to(steps)))
                left -= size


def line(step: Step, outcome: Outcome) -> str:
    """One step in one line."""
    return f"{outcome.word:8} {step.name:18}{outcome.seconds:6.0f} s  {outcome.reason or step.proves}"


def failures(folder: Path) -> list[str]:
    """Failed tests, each with the last line of its error; without tests, the last lines of the log."""
    try:
        cases = ET.parse(folder / "tests.xml").getroot().iter("testcase")
    except (OSError, ET.ParseError):
        return _tail(folder / "log.txt", 3)
    found = []
    for case in cases:
        bad = case.find("failure")
        bad = case.find("error") if bad is None else bad
        if bad is not None:
            said = (bad.get("message") or bad.text or "").strip().splitlines() or [""]
            found.append(f"{case.get('classname')}::{case.get('name')}: {said[0][:100]}")
    return found or _tail(folder / "log.txt", 3)


def _tail(log: Path, count: int) -> list[str]:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [text[:140] for text in lines if text.strip()][-count:]


def figures(folder: Path) -> list[str]:
    """The main figures of a step: those it names itself, and of benchmarks the median and the ratios."""
    own = read_json(folder / "figures.json") or {}
    found = [f"{name}: {value}" for name, value in own.items()]
    for entry in benchmarks_of(folder):
        shares = {key: value for key, value in entry["extra"].items() if _is_main(key, value)}
        if shares:
            said = ", ".join(f"{key} {value:.3g}" for key, value in shares.items())
            found.append(f"{entry['name']}: {entry['seconds']['median'] * 1e6:.0f} us, {said}")
    return found


def _is_main(name: str, value: object) -> bool:
    return isinstance(value, (int, float)) and any(part in name for part in MAIN)


def summary(out: Path, work: Path, gpu: str, found: Found) -> str:
    """At most `LINES` lines: every step, then what failed, then the main figures."""
    top = [f"{gpu or 'no GPU'}: {out / stem(gpu)}.json and -logs.tar.gz"]
    top += [line(step, outcome) for step, outcome in found.values()]
    bad = [name for name, (_, outcome) in found.items() if outcome.word not in ("ok", "skipped")]
    broken = {name: failures(work / "steps" / name) for name in bad}
    good = {name: figures(work / "steps" / name) for name in found}
    left = LINES - len(top)
    shown = _shared(broken, max(left * 2 // 3, left - sum(map(len, good.values()))))
    return "\n".join(top + shown + _shared(good, left - len(shown)))


def _shared(groups: Mapping[str, Sequence[str]], lines: int) -> list[str]:
    """The first entries of every group, with its name, in at most so many lines."""
    groups = {name: entries for name, entries in groups.items() if entries}
    shown: list[str] = []
    for i, (name, entries) in enumerate(groups.items()):
        share = (lines - len(shown)) // (len(groups) - i)
        if share < 2:
            continue
        fits = (
            entries
            if len(entries) < share
            else [*entries[: share - 2], f"... and {len(entries) - share + 2} more"]
        )
        shown += [f"{name}:", *(f"  {entry[:150]}" for entry in fits)]
    return shown
