"""Random numbers with an address: a counter-based generator (Philox) instead of one that remembers."""

from __future__ import annotations

import numpy as np


def generator(seed: int, purpose: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers that belong to (seed, purpose, epoch, index) and to nothing else.

    Args:
        seed: any integer; taken modulo 2^64.
        purpose: what the numbers are for, so that equal addresses of different uses share nothing.
        epoch, index: 0 .. 2^64 - 1.
    """
    key = np.array([seed % 2**64, purpose], dtype=np.uint64)
    counter = np.array([0, 0, epoch, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
