"""Tables of text as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from bodvcl.text.tables import Listing

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}


def cells(table: Listing) -> tuple[list[str], list[list[str]]]:
    """The headings of a table, and its rows, as text."""
    rows = [[*row.names, *(row.values.get(column, "") for column in table.columns)] for row in table.rows]
    return [*table.names, *table.columns], rows


def markdown(table: Listing) -> str:
    """A table in Markdown, without its title."""
    headings, rows = cells(table)
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (headings, *rows)]
    lines = ["|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|" for row in escaped]
    return "\n".join([lines[0], "|---" * len(headings) + "|", *lines[1:]]) + "\n"


def latex(table: Listing, caption: str, notes: Sequence[str] = ()) -> str:
    """A LaTeX table with the rules of the package booktabs.

    Args:
        table: the table.
        caption: text above it.
        notes: lines below it.
    """
    headings, rows = cells(table)
    columns = "l" * len(table.names) + "r" * len(table.columns)
    body = [" & ".join(map(latex_text, row)) + r" \\" for row in (headings, *rows)]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex_text(caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\smallskip{{\footnotesize {latex_text(note)}}}" for note in notes),
            r"\end{table}",
            "",
        ]
    )


def latex_text(text: str) -> str:
    """Text in which LaTeX sees no command."""
    return "".join(_LATEX.get(char, char) for char in text.replace("\n", " "))


def comma_separated(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV with a line of headings; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return text.getvalue()
