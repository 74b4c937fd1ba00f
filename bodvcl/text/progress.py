"""Progress bars: live in a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(*iterable: Any, **options: Any) -> tqdm:
    """A tqdm bar of these arguments; where stderr is no terminal it is redrawn every ten seconds only."""
    return tqdm(*iterable, dynamic_ncols=True, mininterval=0.2 if sys.stderr.isatty() else 10.0, **options)
