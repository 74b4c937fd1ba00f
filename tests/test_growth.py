"""The measure that other tests judge memory by sees a leak, and nothing else."""

from __future__ import annotations

import pytest
from growth import growth, needs_proc

ROUNDS = 30
PIECE = 64 * 1024


@needs_proc
@pytest.mark.parametrize("size", [PIECE // 32, PIECE, 32 * PIECE])
def test_what_is_kept_in_every_round_is_seen(size):
    kept, count = [], 2**22 // size
    grown = growth(lambda number: kept.extend(bytes([number]) * size for _ in range(count)), ROUNDS)
    assert 0.8 * count * size < grown < 1.5 * count * size


@needs_proc
def test_what_is_given_back_is_not():
    def use(number: int) -> None:
        pieces = [b"x" * PIECE * (1 + (number * 7 + k) % 5) for k in range(100)]
        del pieces[::2]

    assert growth(use, ROUNDS) < PIECE


def test_steps_and_jitter_are_not():
    steps = iter([0, 9, 9, 9, 5, 9, 9, 9, 9, 40, 40, 40, 39, 40, 40, 90, 90, 90, 90, 90])
    assert growth(lambda number: None, 20, lambda: next(steps)) == 0
    assert growth(lambda number: None, 20, iter(range(0, 60, 3)).__next__) == 3
