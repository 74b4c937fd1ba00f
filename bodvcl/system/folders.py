"""Folders of the user: the home folder (``~``) and the caches."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from bodvcl.errors import ConfigError


def expand(path: str | Path) -> Path:
    """A path with ``~`` and ``~name`` replaced by the home folder.

    A shell replaces them only at the start of a word, not in ``--run-dir=~/x``. ``~name`` stays as it is if
    there is no such user.

    Raises:
        ConfigError: this user has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        if Path(path).parts[0] == "~":
            raise ConfigError(
                f"{path}: this user has no home folder; set HOME, or write the whole path"
            ) from error
        return Path(path)


def cache_folder(name: str) -> Path:
    """The cache folder ``name``: in ``$XDG_CACHE_HOME/bodvcl``, or in ``~/.cache/bodvcl``.

    A user without a home folder gets a private folder among the temporary files.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if given.startswith(("/", "~")):  # the standard says to ignore a relative path
        return expand(given) / "bodvcl" / name
    try:
        return expand("~") / ".cache" / "bodvcl" / name
    except ConfigError:
        return _private_temporary() / name


def _private_temporary() -> Path:
    """A folder only for this user; the same in every process, unless another user has created it."""
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"bodvcl-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode):
        return folder
    return Path(tempfile.mkdtemp(prefix="bodvcl-"))
