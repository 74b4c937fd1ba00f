"""Digests of files: of some blocks, which costs little, and of all bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable

_BLOCK, _BLOCKS = 2**14, 16  # bytes of a block, and blocks of a file that a fingerprint depends on
_CHUNK = 2**20


def fingerprint(path: str) -> int:
    """A number of 63 bits from the size of a file and 16 blocks of it, from its start to its end.

    Different numbers mean different files; equal ones very likely equal files. 0: it cannot be read.
    """

    def places(size: int) -> list[int]:
        return [(size - _BLOCK) * block // (_BLOCKS - 1) for block in range(_BLOCKS)]

    return _number(_digest(path, places, _BLOCK))


def whole_digest(paths: Iterable[str]) -> bytes | None:
    """A digest of all bytes of some files, in order; None: one cannot be read."""
    digests = [_digest(path, lambda size: range(0, size, _CHUNK), _CHUNK) for path in paths]
    return None if None in digests else hashlib.blake2b(b"".join(filter(None, digests))).digest()


def fingerprint_of_images(folder: str, names: Iterable[str]) -> int:
    """As :func:`fingerprint`, of a video that is some images, from all bytes of these."""
    return _number(whole_digest(os.path.join(folder, name) for name in names))


def _number(digest: bytes | None) -> int:
    return 0 if digest is None else max(int.from_bytes(digest[:8], "little") >> 1, 1)


def _digest(path: str, places: Callable[[int], Iterable[int]], length: int) -> bytes | None:
    digest = hashlib.blake2b()
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(size.to_bytes(8, "little"))
            for place in places(size):
                file.seek(max(place, 0))
                digest.update(file.read(length))
    except OSError:
        return None
    return digest.digest()
