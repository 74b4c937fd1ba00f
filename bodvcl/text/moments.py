"""``VIDEO[@SECONDS]``: how a user names a moment of a video."""

from __future__ import annotations

import math
from collections.abc import Callable

from bodvcl.errors import ConfigError


def video_and_seconds(text: str, known: Callable[[str], bool], option: str) -> tuple[str, float | None]:
    """Name and second of ``VIDEO[@SECONDS]``. A name may have an '@' itself.

    Args:
        text: what the user gave.
        known: whether a name is that of a video; if the whole text is, then it has no second.
        option: option that took it, for the message.

    Raises:
        ConfigError: the second is negative or not finite.
    """
    name, at, time = text.rpartition("@")
    if not at or known(text):
        return text, None
    try:
        seconds = float(time)
    except ValueError:
        return text, None
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{option} {text}: expected VIDEO@SECONDS with 0 seconds or more, got {time}")
    return name, seconds
