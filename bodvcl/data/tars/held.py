"""A video that is a part of a larger file: a member of a tar file, on a disk or at a URL.

Local files are read in place. Of a file at a URL exactly the bytes of the member are asked for.
"""

from __future__ import annotations

import functools
import io
import os
import time
from typing import Any, NamedTuple

from bodvcl.errors import DataError

_WAITS = (1.0, 4.0)  # seconds before the second and the third try
_CONNECT, _SILENCE = 30, 60  # seconds that a web server may take to connect, and then to send something
_BUFFER = 2**16  # bytes read at once from a local file, at least


class Held(NamedTuple):
    """Where the bytes of a video are.

    Attributes:
        whole: path or URL of the file that holds it.
        start: its first byte there.
        size: number of its bytes.
    """

    whole: str
    start: int
    size: int


class HeldError(DataError):
    """The larger file, or a part of it, cannot be read; the message is one line."""


def is_url(path: str) -> bool:
    """Whether a path names a place that is not on this machine's file systems."""
    return "://" in path


def held_file(held: Held) -> io.BufferedIOBase:
    """The bytes as a file that can be read and searched.

    Raises:
        HeldError: they cannot be read.
    """
    if is_url(held.whole):
        return io.BytesIO(held_bytes(held))
    try:
        return io.BufferedReader(_Window(held), _BUFFER)
    except OSError as error:
        raise HeldError(error.strerror or str(error)) from error


def held_bytes(held: Held) -> bytes:
    """The bytes. A URL that fails is tried three times.

    Raises:
        HeldError: they cannot be read; names the reason only.
    """
    if is_url(held.whole):
        return _patiently(held)
    with held_file(held) as file:
        found = file.read()
    if len(found) != held.size:
        raise HeldError(f"the tar file ends {held.size - len(found):,} bytes too early")
    return found


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path in it.

    Raises:
        HeldError: the kind of URL is unknown, or its package is not installed.
    """
    return _filesystem(url, os.getpid())


@functools.lru_cache(maxsize=4096)
def _filesystem(url: str, process: int) -> tuple[Any, str]:
    """One per process: connections do not survive a fork."""
    import fsspec

    options: dict[str, Any] = {}
    if url.startswith(("http://", "https://")):
        try:
            import aiohttp
        except ImportError:
            raise HeldError("a web address needs the package aiohttp: pip install aiohttp") from None
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)
        options = {"client_kwargs": {"timeout": limits}}
    try:
        system, path = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
    except (ImportError, ValueError) as error:
        raise HeldError(" ".join(str(error).split())) from error
    return system, path


def reason_of(error: BaseException) -> str:
    """What a failed answer from a URL says, in one line."""
    if isinstance(error, TimeoutError) or "timeout" in type(error).__name__.lower():
        return "no answer in time"
    if isinstance(error, FileNotFoundError):
        cause = error.__cause__  # fsspec raises it, too, where a web server cannot be reached
        reached = cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", 0) == 404
        return "no such file" if reached or cause is None else reason_of(cause)
    if isinstance(error, PermissionError):
        return "no permission to read it"
    told = " ".join(str(error).split())
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def _patiently(held: Held) -> bytes:
    system, path = filesystem(held.whole)
    for wait in (*_WAITS, None):
        try:
            found: bytes = system.cat_file(path, start=held.start, end=held.start + held.size)
        except Exception as error:  # each kind of URL has errors of its own
            missing = isinstance(error, (FileNotFoundError, PermissionError))
            if wait is None or missing:
                tries = "" if missing else f" ({len(_WAITS) + 1} tries)"
                raise HeldError(f"{reason_of(error)}{tries}") from error
            time.sleep(wait)
        else:
            break
    if len(found) != held.size:
        raise HeldError(
            f"got {len(found):,} bytes instead of {held.size:,}: the file has changed, or its server sends "
            "only whole files"
        )
    return found


class _Window(io.RawIOBase):
    """The bytes of a member of a local file, as a file of its own."""

    def __init__(self, held: Held) -> None:
        self._file = open(held.whole, "rb", buffering=0)  # noqa: SIM115  # closed in close()
        self._first, self._size, self._at = held.start, held.size, 0

    @property
    def name(self) -> str:
        """Path of the larger file: FFmpeg's guess of the format does not depend on it."""
        return str(self._file.name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at))
        found = os.preadv(self._file.fileno(), [memoryview(buffer)[:wanted]], self._first + self._at)
        self._at += found
        return found

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
