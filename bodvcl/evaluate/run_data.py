"""Find the data that a run was trained on from any folder."""

from __future__ import annotations

import os
from pathlib import Path

from bodvcl.data.sets import DATA_SETS, built_in
from bodvcl.data.tars.held import is_url
from bodvcl.data.tars.names import any_exists
from bodvcl.errors import DataError


def data_of_run(data: str, checkpoint: Path, trained_in: Path | None) -> tuple[str, str | None]:
    """The data of a run's configuration, as seen from the current folder.

    A relative path starts at the folder in which training ran, if that folder is known and the data still
    exist there; otherwise at the current folder.

    Args:
        data: value in the configuration: a built-in data set, a path, or a data set by name with its folder.
        checkpoint: checkpoint that the message names.
        trained_in: working directory of the training; None if it is not known.

    Returns:
        The data to open; and a line for the user if they are not what ``data`` means in the current folder.

    Raises:
        DataError: the data do not exist.
    """
    if built_in(data) or is_url(data):
        return data, None
    prefix, place = _parts(data)
    path = Path(place).expanduser()
    there = None if trained_in is None else trained_in / path
    if there is not None and _exists(there):
        if _exists(path) and os.path.realpath(path) == os.path.realpath(there):
            return data, None
        return f"{prefix}{there}", (
            f"data of the run: {data} in {trained_in}, where training ran (choose other data with --data)"
        )
    if _exists(path):
        return data, None
    tried = "" if path.is_absolute() else f" in {Path.cwd()}"
    if there is not None and not path.is_absolute() and trained_in != Path.cwd():
        tried += f", nor in {trained_in}, where training ran"
    raise DataError(
        f"{place}: no such file or folder{tried}; these are the data in the configuration of {checkpoint}: "
        "give their new place with --data"
    )


def is_there(data: str) -> bool:
    """Whether data exist, as far as their names say: built-in data and URLs always do."""
    return bool(built_in(data)) or is_url(data) or _exists(Path(_parts(data)[1]).expanduser())


def _exists(path: Path) -> bool:
    """Whether there is this file or folder, or a tar file that it stands for."""
    return path.exists() or (path.suffix == ".tar" and any_exists(str(path)))


def _parts(data: str) -> tuple[str, str]:
    """The name of a data set with its colon, or an empty text, and a path."""
    name, colon, root = data.partition(":")
    by_name = colon and root and name.partition("@")[0] in DATA_SETS and not Path(data).exists()
    return (f"{name}:", root) if by_name else ("", data)
