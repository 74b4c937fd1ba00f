"""Numbers in sentences."""

from __future__ import annotations

import pytest

from bodvcl.words import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 videos"), (1, "1 video"), (2, "2 videos"), (1234, "1,234 videos")]
)
def test_one_is_singular(number, text):
    assert counted(number, "video") == text
