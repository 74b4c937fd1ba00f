"""A made AVA for all tests of detection."""

from __future__ import annotations

from pathlib import Path

import pytest
from detect.tiny_ava import tiny_ava


@pytest.fixture(scope="session")
def ava_folder(tmp_path_factory) -> Path:
    """4 training films with 16 key frames, 2 validation films with 7 that count."""
    return tiny_ava(tmp_path_factory.mktemp("made") / "AVA", train=4, val=2, seconds=6)
