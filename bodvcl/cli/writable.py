"""Whether a file can be written, before the work that it is to hold."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

from bodvcl.errors import ConfigError


def check_writable(option: str, path: Path) -> None:
    """Refuse a file that could not be written.

    Args:
        option: option that chose it, for the message.
        path: the file.

    Raises:
        ConfigError: it is a folder, or its folder cannot be written.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder; expected the name of a file")
        existing = next(folder for folder in path.absolute().parents if folder.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ConfigError(f"{option}: cannot write {path}: {error.strerror or error}") from error
