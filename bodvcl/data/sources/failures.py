"""Files that turn out to be unreadable while training: each is named once, and their number is limited."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

from bodvcl.errors import DataError
from bodvcl.text.words import counted

logger = logging.getLogger(__name__)

_SHOWN = 5


class BadFiles:
    """The files that could not be read.

    Args:
        videos: number of training videos.
        max_bad: share of them that may be unreadable, 0 to 1. One file is always allowed, unless this is 0.
        option: the option that sets this share, for the message.

    Attributes:
        failed: maps the path of each file so far to the reason.
    """

    def __init__(self, videos: int, max_bad: float, option: str = "--decode.max-bad") -> None:
        self.failed: dict[str, str] = {}
        self._videos = videos
        self._max_bad, self._option = max_bad, option
        self._allowed = max(1, math.floor(max_bad * videos)) if max_bad else 0

    def add(self, failures: Iterable[tuple[str, str]]) -> None:
        """Add (path, reason) pairs; each new file is logged."""
        for path, reason in failures:
            if path not in self.failed:
                self.failed[path] = reason
                logger.warning("unreadable, another video takes its place: %s: %s", path, reason)

    def check(self) -> None:
        """Check that there are not too many.

        Raises:
            DataError: there are; the message has the counts and the first files.
        """
        if len(self.failed) <= self._allowed:
            return
        first = "; ".join(f"{path}: {reason}" for path, reason in list(self.failed.items())[:_SHOWN])
        more = f"; and {len(self.failed) - _SHOWN} more" if len(self.failed) > _SHOWN else ""
        raise DataError(
            f"{len(self.failed)} of {counted(self._videos, 'video')} could not be read while training, and "
            f"{self._option} {self._max_bad:g} allows {self._allowed}: {first}{more}; repair or remove "
            f"these files, or raise {self._option}"
        )
