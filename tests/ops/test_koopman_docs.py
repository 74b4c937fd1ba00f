"""The examples of docs/koopman.md run."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "koopman.md"


def test_the_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert blocks
    scope: dict = {}
    for block in blocks:
        exec(block, scope)
    assert scope["split"].static.shape == (64, 128)
    assert scope["operator"].modes().shape == (128, 7)
    assert scope["features"].grad.isfinite().all()
