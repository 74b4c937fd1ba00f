"""Tables at any width: each name and each number is printed whole, on one line."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from bodvcl.text.tables import Listing, Row, output_width, show
from bodvcl.text.words import printable

NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)
NUMBER = st.floats(-100, 100).map(lambda v: f"{v:+.1f} \u00b12.5")


@st.composite
def listings(draw) -> Listing:
    names = draw(st.lists(NAME, min_size=1, max_size=2))
    columns = draw(st.lists(NAME, max_size=5, unique=True))
    cells = st.fixed_dictionaries({}, optional=dict.fromkeys(columns, NUMBER))
    row = st.builds(
        Row, st.tuples(*(NAME for _ in names)), cells, style=st.sampled_from(["", "dim"]), last=st.booleans()
    )
    return Listing("a title", names, columns, draw(st.lists(row, max_size=4)))


def printed(listing: Listing, width: int | None) -> str:
    before = os.environ.pop("COLUMNS", None)
    try:
        if width is not None:
            os.environ["COLUMNS"] = str(width)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            show(listing)
        return out.getvalue()
    finally:
        os.environ.pop("COLUMNS", None)
        if before is not None:
            os.environ["COLUMNS"] = before


def headings(columns: Iterable[str]) -> list[str]:
    """Headings without line breaks and control characters, which only the program could put there."""
    return [column for column in columns if column == printable(column)]


@given(listings(), st.one_of(st.none(), st.integers(1, 200)))
def test_every_name_and_number_stands_whole_on_a_line(listing: Listing, width: int | None) -> None:
    lines = printed(listing, width).split("\n")
    for row in listing.rows:
        for text in (*map(printable, row.names), *row.values.values(), *headings(row.values)):
            assert any(text in line for line in lines), text


@given(listings(), st.integers(20, 200))
def test_only_what_cannot_be_shorter_is_longer_than_the_line(listing: Listing, width: int) -> None:
    pieces = [*listing.names, *listing.columns, listing.title]
    pieces += [text for row in listing.rows for text in (*row.names, *row.values.values())]
    longest = max(cell_len(printable(text)) for text in pieces)
    for line in printed(listing, width).split("\n"):
        assert cell_len(line.rstrip()) <= max(width, longest + 6)  # indented by 6 at most


def test_a_name_is_printed_once_for_the_lines_that_share_it() -> None:
    rows = [Row(("shape", kind), {"top1": "50.0"}) for kind in ("backbone", "static")]
    text = printed(Listing("title", ("label", "features"), ("top1",), rows), 20)
    assert text.splitlines() == [
        "title",
        "shape",
        "  backbone",
        "    top1 50.0",
        "  static",
        "    top1 50.0",
        "",
    ]
    assert printed(Listing("title", ("label", "features"), ("top1",), rows), 40).count("shape") == 2


def test_what_is_no_terminal_has_no_width(monkeypatch, capsys) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert output_width() > 1000
    monkeypatch.setenv("COLUMNS", "33")
    assert output_width() == 33
    monkeypatch.setenv("COLUMNS", "nonsense")
    assert output_width() > 1000
