"""Progress bars: live in a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar, overload

from tqdm import tqdm

T = TypeVar("T")


@overload
def progress_bar(iterable: Iterable[T], **options: Any) -> tqdm[T]: ...
@overload
def progress_bar(iterable: None = None, **options: Any) -> tqdm[Any]: ...
def progress_bar(iterable: Iterable[T] | None = None, **options: Any) -> tqdm[T] | tqdm[Any]:
    """A tqdm bar. Where stderr is not a terminal, it is redrawn only every ten seconds.

    Args:
        iterable: what the bar iterates over. None: the caller counts with ``update``.
        options: further arguments of :class:`tqdm.tqdm`.
    """
    seconds = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(iterable, dynamic_ncols=True, mininterval=seconds, **options)
