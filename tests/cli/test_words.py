"""Numbers and paths in sentences."""

from __future__ import annotations

import pytest

from bodvcl.words import counted, printable


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 videos"), (1, "1 video"), (2, "2 videos"), (1234, "1,234 videos")]
)
def test_one_is_singular(number, text):
    assert counted(number, "video") == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a b/ä.mp4", "a b/ä.mp4"),
        ("a\nb\t", r"a\nb\t"),
        ("\udcff\udcfe.mp4", "\N{REPLACEMENT CHARACTER}" * 2 + ".mp4"),
        ("\ud800", r"\ud800"),
    ],
)
def test_a_path_is_one_line_of_text(path, text):
    assert printable(path) == text
    assert printable(path).encode()
