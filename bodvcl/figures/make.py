"""All figures of some runs: options to a folder with figures.html, pictures and numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import bodvcl
from bodvcl.engine.device import pick_device
from bodvcl.errors import UserError
from bodvcl.figures.folder import FigureFolder
from bodvcl.figures.opened import OpenedRun, open_runs
from bodvcl.figures.options import FIGURES, FigureOptions, refuse_contradictions
from bodvcl.figures.work import FigureWork
from bodvcl.system.commit import code_commit
from bodvcl.system.global_state import restored
from bodvcl.text.words import counted
from bodvcl.viz.html import Markup, escape, section
from bodvcl.viz.report import page, problem_list, run_title

PAGE = "figures.html"


@restored()
def make_figures(options: FigureOptions, command: str, say: Callable[[str], None] = print) -> Path:
    """Draw the figures. Global state of PyTorch is put back at the end.

    A figure that was asked for and cannot be made is an error; without ``--figures``, one that cannot be made
    is named with the reason, on the page and to the user.

    Args:
        options: runs, figures and data.
        command: the command that the page names, without ``--figures``.
        say: takes lines for the user.

    Returns:
        The page.

    Raises:
        UserError: runs, data or options that cannot be used; see the class's subclasses.
    """
    refuse_contradictions(options)
    device = pick_device(options.device)
    runs = open_runs(options.runs, options.names, options.clip)
    folder = FigureFolder(options.out)
    work = FigureWork(options, runs, folder, device, say)
    work.check_cheaply()
    folder.create()
    sections: list[Markup] = []
    missing: list[str] = []
    for name in options.figures or FIGURES:
        folder.begin()
        try:
            made = work.make(name)
        except UserError as error:
            if options.is_asked_for(name):
                raise
            missing.append(f"{name}: {error}")
            say(f"{name} is left out: {error}")
            continue
        sections.append(made.html(f"{command} --figures {name}", code_commit(), folder.files))
        say(f"{name}: {counted(len(folder.files), 'file')}")
    if not sections:
        raise UserError(f"no figure can be made ({'; '.join(missing)})")
    if (problems := problem_list(missing)) is not None:
        sections.append(problems)
    text = page(
        title="Figures",
        lead=" · ".join(run.name for run in runs),
        sections=[_about(runs), *sections],
        footer=f"Written by bodvcl {bodvcl.__version__} on {time.strftime('%Y-%m-%d %H:%M')}",
    )
    folder.save(PAGE, text.encode())
    return folder.path / PAGE


def _about(runs: Sequence[OpenedRun]) -> Markup:
    """Which runs these are. The description list of the report would change their names."""
    rows = "".join(
        f"<dt>{escape(run.name)}</dt><dd>{escape(run_title(run.contents.config))}<br>"
        f"<small>{escape(run.path.resolve())}</small></dd>"
        for run in runs
    )
    return section("runs", "Runs", Markup(f'<div class="card"><dl class="facts">{rows}</dl></div>'))
