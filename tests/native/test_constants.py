"""The native kernels and the PyTorch route iterate alike: their constants are the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bodvcl.ops.koopman import projector
from bodvcl.ops.koopman.backend import MAX_FRAMES, MAX_WIDTH, MIN_WIDTH

SOURCES = Path(__file__).parents[2] / "csrc"


def constant(file: str, name: str) -> float:
    """The number that ``file`` gives ``name``."""
    text = (SOURCES / file).read_text(encoding="utf-8")
    found = re.findall(rf"constexpr (?:int|double) {name} = ([^;]+);", text)
    assert len(found) == 1, f"{name} is defined {len(found)} times in {file}"
    return float(found[0])


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("spectral.h", "kNewtonSteps", projector.NEWTON_STEPS),
        ("spectral.h", "kSmithSteps", projector.SMITH_STEPS),
        ("spectral.h", "kIdempotent", projector.IDEMPOTENT),
        ("problem.h", "kMaxFrames", MAX_FRAMES),
        ("problem.h", "kMinWidth", MIN_WIDTH),
        ("problem.h", "kMaxWidth", MAX_WIDTH),
    ],
)
def test_both_routes_use_one_number(file, name, value):
    assert constant(file, name) == value


def test_both_routes_move_xi_alike():
    text = (SOURCES / "spectral.h").read_text(encoding="utf-8")
    factors = re.search(r"attempt == 0 \? ([\d.]+)\s*: attempt == 1 \? ([\d.]+)\s*: ([\d.]+)", text)
    assert factors
    assert tuple(map(float, factors.groups())) == projector.NUDGES
