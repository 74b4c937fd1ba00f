"""Which tar files a specification names: files, folders, patterns with ``{000..127}`` or ``*``, and URLs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bodvcl.data.tars.held import HeldError, filesystem, is_url, reason_of
from bodvcl.errors import DataError
from bodvcl.text.words import counted, printable

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST = 10_000_000  # names that one pattern may stand for
_ASKING = 32  # threads: a web server answers slowly
_MARKS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
"""Facts of fsspec about a file that change with its content; the first one that is there counts."""


@dataclass(frozen=True)
class TarFile:
    """A tar file of videos.

    Attributes:
        url: its path or URL.
        size: bytes.
        mark: differs after the file has changed.
        split: split that its folder is named after; "" for none.
    """

    url: str
    size: int
    mark: str
    split: str = ""


def find_tars(text: str) -> list[TarFile]:
    """The tar files that a specification names, in the order of the pattern.

    Args:
        text: path or URL of a file, or of a folder with ``*.tar`` in it; ``{000..127}`` stands for these
            numbers, ``{a,b}`` for these texts, and ``*`` and ``?`` for any characters of files that exist.

    Raises:
        DataError: there are none, or one does not exist or cannot be read.
    """
    urls = [url for name in expanded(text) for url in _existing(name)]
    if not urls:
        raise DataError(f"{printable(text)}: no such tar file; give a file, a pattern such as "
                        "train-{0000..0127}.tar, or a folder with .tar files")  # fmt: skip
    if repeated := len(urls) - len(set(urls)):
        raise DataError(f"{printable(text)}: names {counted(repeated, 'tar file')} more than once")
    return measured(urls)


def any_exists(text: str) -> bool:
    """Whether there is one of the local files that a pattern stands for."""
    return any(os.path.exists(path) for name in expanded(text) for path in _existing(name))


def measured(urls: Sequence[str], splits: Sequence[str] | None = None) -> list[TarFile]:
    """The tar files with their sizes.

    Args:
        urls: paths or URLs.
        splits: split of each; None: they have none.

    Raises:
        DataError: one does not exist or cannot be read.
    """
    with ThreadPoolExecutor(_ASKING) as pool:
        facts = pool.map(_facts, urls)
        return [TarFile(u, *fact, split) for u, fact, split in zip(urls, facts, splits or [""] * len(urls))]


def expanded(text: str) -> Iterator[str]:
    """Every text that a pattern with braces stands for, in order.

    Raises:
        DataError: a range is too large.
    """
    found = _BRACES.search(text)
    if found is None:
        yield text
        return
    for choice in _choices(found[1], text):
        yield from expanded(text[: found.start()] + choice + text[found.end() :])


def _choices(inside: str, text: str) -> Sequence[str]:
    numbers = _RANGE.fullmatch(inside)
    if numbers is None:
        return inside.split(",")
    first, last = numbers[1], numbers[2]
    if not 0 <= int(last) - int(first) < _MOST:
        raise DataError(f"{printable(text)}: {{{inside}}} is not a range; write for example {{0000..0127}}")
    width = len(first) if first.startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]


def _existing(name: str) -> list[str]:
    """The files that a name without braces stands for, sorted; the name itself where it has no ``*``."""
    if is_url(name):
        if not name.partition("?")[0].endswith(".tar") and "*" not in name:
            name = f"{name.rstrip('/')}/*.tar"
        return _remote(name) if "*" in name else [name]
    if any(mark in name for mark in "*?[") and not os.path.exists(name):
        return sorted(glob.glob(name, recursive=True))
    return [name]


def _remote(pattern: str) -> list[str]:
    try:
        system, path = filesystem(pattern)
        return sorted(system.unstrip_protocol(found) for found in system.glob(path))
    except HeldError as error:
        raise DataError(f"{printable(pattern)}: {error}") from error
    except Exception as error:  # each kind of URL has errors of its own
        raise DataError(f"{printable(pattern)}: cannot be listed: {reason_of(error)}") from error


def _facts(url: str) -> tuple[int, str]:
    try:
        if not is_url(url):
            status = os.stat(url)
            if not os.path.isfile(url) or not os.access(url, os.R_OK):
                raise DataError(f"{printable(url)}: {_no_file(url)}")
            return status.st_size, str(status.st_mtime_ns)
        system, path = filesystem(url)
        info: dict[str, Any] = system.info(path)
    except (HeldError, OSError) as error:
        reason = str(error) if isinstance(error, HeldError) else error.strerror or reason_of(error)
        raise DataError(f"{printable(url)}: this tar file cannot be read: {reason}") from error
    except DataError:
        raise
    except Exception as error:  # each kind of URL has errors of its own
        raise DataError(f"{printable(url)}: this tar file cannot be read: {reason_of(error)}") from error
    if info.get("size") is None:
        raise DataError(f"{printable(url)}: its server does not say how large it is, so it cannot be used")
    return int(info["size"]), str(next((info[name] for name in _MARKS if info.get(name)), ""))


def _no_file(url: str) -> str:
    return "a folder, not a tar file" if os.path.isdir(url) else "no permission to read it"
