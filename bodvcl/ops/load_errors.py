"""What the dynamic linker says of a library that does not fit this system, in one line for its user."""

from __future__ import annotations

import os
import re

OTHERWISE = "install a wheel for older systems, or build from the sources here"


def explain_load_error(said: str) -> str:
    """One line for the message of an `OSError` from loading a library.

    Args:
        said: the message, such as "/lib/libc.so.6: version `GLIBC_2.99' not found (required by /a/_C.so)".
    """
    line = " ".join(said.split())
    found = re.search(r"version [`']((\w+?)_([\d.]+))' not found", line)
    if found is None:
        return line
    symbol, family, version = found.groups()
    if family == "GLIBC":
        return f"built for glibc {version} or newer, this system has {_glibc()}: {OTHERWISE}"
    return f"built for a newer libstdc++ or libgcc (with {symbol}) than this process has loaded: {OTHERWISE}"


def _glibc() -> str:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "another C library").replace("glibc ", "")
    except ValueError:
        return "another C library"
