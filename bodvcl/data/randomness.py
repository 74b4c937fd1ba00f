"""Random numbers by address: a counter-based generator (Philox), which keeps no state between uses."""

from __future__ import annotations

import numpy as np


def generator(seed: int, purpose: int, epoch: int, index: int) -> np.random.Generator:
    """A generator whose numbers depend only on (seed, purpose, epoch, index).

    Args:
        seed: any integer; taken modulo 2^64.
        purpose: number of the use; different uses with otherwise equal arguments get independent numbers.
        epoch, index: 0 .. 2^64 - 1.
    """
    key = np.array([seed % 2**64, purpose], dtype=np.uint64)
    counter = np.array([0, 0, epoch, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
