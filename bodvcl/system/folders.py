"""Folders of the user: what ``~`` means, and where caches are kept."""

from __future__ import annotations

import os
from pathlib import Path

from bodvcl.errors import ConfigError


def expand(path: str | Path) -> Path:
    """A path that a user wrote, with ``~`` and ``~name`` replaced by the home folder.

    A shell does it only at the start of a word, not in ``--run-dir=~/x``. ``~name`` stays as it is where
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
    """Where ``name`` is kept between runs: in ``$XDG_CACHE_HOME/bodvcl``, else in ``~/.cache/bodvcl``.

    For a user without a home folder it is in a private folder among the temporary files.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if given.startswith(("/", "~")):  # any other is to be passed over, by the standard
        return expand(given) / "bodvcl" / name
    try:
        return expand("~") / ".cache" / "bodvcl" / name
    except ConfigError:
        return _private_temporary() / name


def _private_temporary() -> Path:
    """A folder of this user alone; the same one in every process, unless somebody else made it."""
    import tempfile

    folder = Path(tempfile.gettempdir()) / f"bodvcl-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid == os.getuid() and not folder.is_symlink():
        return folder
    return Path(tempfile.mkdtemp(prefix="bodvcl-"))
