"""Numbers, paths and names in sentences."""

from __future__ import annotations

import pytest

from bodvcl.text.words import counted, plain, printable, suggestion


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 videos"), (1, "1 video"), (2, "2 videos"), (1234, "1,234 videos")]
)
def test_one_is_singular(number, text):
    assert counted(number, "video") == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("label", "label"),
        ("two words", "two words"),
        (" label", "' label'"),
        ("a, b", "'a, b'"),
        ("", "''"),
        ("a\nb", r"'a\nb'"),
        ("caf\u00e9", "caf\u00e9"),
        ("x" * 100, "x" * 57 + "..."),
    ],
)
def test_a_name_in_a_sentence(name: str, text: str) -> None:
    assert plain(name) == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a b/ä.mp4", "a b/ä.mp4"),
        ("a\r\nb\t\u2028c", r"a\r\nb\t\u2028c"),
        ("\udcff\udcfe.mp4", "\N{REPLACEMENT CHARACTER}" * 2 + ".mp4"),
        ("\ud800", r"\ud800"),
        ("\u8df3\u3000\u7ef3 \u0645\u06cc\u200c\u062e", "\u8df3\u3000\u7ef3 \u0645\u06cc\u200c\u062e"),
    ],
)
def test_a_path_or_a_name_is_one_line_of_text(path: str, text: str) -> None:
    assert printable(path) == text
    assert printable(path).encode()


@pytest.mark.parametrize(
    ("name", "near"), [("trajectroy", "trajectory"), ("Shape", "shape"), ("label", "' label'"), ("zzz", "")]
)
def test_a_known_name_that_is_near(name: str, near: str) -> None:
    hint = suggestion(name, ["trajectory", "shape", " label"])
    assert hint == (f" (did you mean {near}?)" if near else "")
