"""Files that turn out to be unreadable while training: named once, counted, and not too many of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

from bodvcl.errors import DataError
from bodvcl.text.words import counted

logger = logging.getLogger(__name__)

_SHOWN = 5


class BadFiles:
    """Keeps the files that could not be read.

    Args:
        videos: number of videos of the training.
        max_bad: share of them that may be unreadable. One file is always tolerated, unless this is 0.

    Attributes:
        failed: path to reason of every file so far.
    """

    def __init__(self, videos: int, max_bad: float) -> None:
        self.failed: dict[str, str] = {}
        self._videos = videos
        self._max_bad = max_bad
        self._allowed = max(1, math.floor(max_bad * videos)) if max_bad else 0

    def add(self, failures: Iterable[tuple[str, str]]) -> None:
        """Log each (path, reason) that is new."""
        for path, reason in failures:
            if path not in self.failed:
                self.failed[path] = reason
                logger.warning("left out of training, unreadable: %s: %s", path, reason)

    def check(self) -> None:
        """Stop when there are too many.

        Raises:
            DataError: names the counts and the first few files.
        """
        if len(self.failed) <= self._allowed:
            return
        first = "; ".join(f"{path}: {reason}" for path, reason in list(self.failed.items())[:_SHOWN])
        more = f"; and {len(self.failed) - _SHOWN} more" if len(self.failed) > _SHOWN else ""
        raise DataError(
            f"{len(self.failed)} of {counted(self._videos, 'video')} could not be read while training, and "
            f"--decode.max-bad {self._max_bad:g} allows {self._allowed}: {first}{more}; mend or remove these "
            f"files, or raise --decode.max-bad"
        )
