"""One self-contained HTML page about a run, from what is in its folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import bodvcl
from bodvcl.config.methods import method_title
from bodvcl.errors import UserError
from bodvcl.runs.contents import RunFolder, read_run
from bodvcl.runs.folder import write_atomically
from bodvcl.viz.html import Markup, escape, join, section
from bodvcl.viz.report_sections import SECTIONS

REPORT = "report.html"


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` into a run folder, atomically, and return its path.

    The page needs no other file and no network. If a file of the run is missing or broken, only its section
    is left out.

    Raises:
        UserError: ``run_dir`` is not a folder, holds no file of a run, or cannot be written to.
    """
    if not run_dir.is_dir():
        raise UserError(f"{run_dir} is not a folder; expected the folder of a run, such as runs/<name>")
    run = read_run(run_dir)
    if run == RunFolder(path=run_dir):
        raise UserError(
            f"{run_dir} holds no file of a run (config.yaml, metrics.jsonl, probe.json, analysis.npz)"
        )
    path = run_dir / REPORT
    try:
        write_atomically(path, render_report(run).encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def render_report(run: RunFolder) -> str:
    """The page as text. A section that cannot be built from what the files hold is named at the end."""
    problems = list(run.unreadable)
    sections: list[Markup | None] = []
    for build in SECTIONS:
        try:
            sections.append(build(run))
        except Exception as error:  # the rest of the report is worth more than this section
            problems.append(f"section {build.__name__}: {type(error).__name__}: {error}")
    sections.append(problem_list(problems))
    return page(
        title=run.path.resolve().name or "run",
        lead=run_title(run.config),
        sections=[part for part in sections if part is not None],
        footer=f"Written by bodvcl {bodvcl.__version__} from {run.path.resolve()}",
    )


def page(*, title: str, lead: str, sections: Iterable[str], footer: str, head: str = "") -> str:
    """A whole page in the style of the report, light and dark. It needs no other file and no network.

    Args:
        title: its heading.
        lead: the line below.
        sections: its content.
        footer: its last line.
        head: more elements of its head, such as a style of its own, as :class:`~bodvcl.viz.html.Markup`.
    """
    template = resources.files("bodvcl.viz").joinpath("report.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=escape(title),
        lead=escape(lead),
        sections=join(sections),
        footer=escape(footer),
        head=escape(head),
    )


def run_title(config: Mapping[str, Any]) -> str:
    """Method, data and seed of a run in one line.

    Args:
        config: its configuration; empty: not known.
    """
    if not config:
        return "Report of a pre-training run."
    method, decouple = str(config.get("method", "")), str(config.get("decouple", ""))
    what = method_title(method, decouple)
    return f"{what} on {config.get('data', 'videos')}, seed {config.get('seed', '?')}"


def problem_list(lines: Sequence[str]) -> Markup | None:
    """A section with what is missing from a page, and why; None: nothing is."""
    if not lines:
        return None
    text = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return section("problems", "What could not be shown", Markup(f"<ul>{text}</ul>"))
