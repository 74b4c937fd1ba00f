"""Progress bars: live in a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from tqdm import tqdm

T = TypeVar("T")


def progress_bar(iterable: Iterable[T] | None = None, **options: Any) -> tqdm[T]:
    """A tqdm bar. Where stderr is not a terminal, it is redrawn only every ten seconds.

    Args:
        iterable: what the bar iterates over. None: the caller counts with ``update``.
        options: further arguments of :class:`tqdm.tqdm`.
    """
    seconds = 0.2 if sys.stderr.isatty() else 10.0
    bar = tqdm(iterable, dynamic_ncols=True, mininterval=seconds, **options)
    return cast("tqdm[T]", bar)  # without an iterable nothing is iterated over, whatever T is
