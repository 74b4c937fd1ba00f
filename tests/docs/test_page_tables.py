"""Every row of a table has as many cells as its head: a bar inside of a cell would begin another one."""

from __future__ import annotations

import re

import pytest
from pages import PAGES, name_of, prose


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_rows_have_the_cells_of_the_head(page):
    wrong, head = [], None
    for line in prose(page).split("\n"):
        if not line.startswith("|"):
            head = None
            continue
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1
        head = head or cells
        if cells != head:
            wrong.append(line)
    assert not wrong, "\n".join(wrong)
