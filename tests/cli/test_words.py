"""Numbers and names in sentences."""

from __future__ import annotations

import pytest

from bodvcl.words import counted, one_line, plain, suggestion


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


def test_a_name_on_one_line() -> None:
    assert one_line("a\r\n\tb\u2028c\udcff d\u3000e") == r"a\r\n\tb\u2028c\udcff d" + "\u3000e"


@pytest.mark.parametrize(
    ("name", "near"), [("trajectroy", "trajectory"), ("Shape", "shape"), ("label", "' label'"), ("zzz", "")]
)
def test_a_known_name_that_is_near(name: str, near: str) -> None:
    hint = suggestion(name, ["trajectory", "shape", " label"])
    assert hint == (f" (did you mean {near}?)" if near else "")
