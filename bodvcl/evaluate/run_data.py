"""The data that a run was trained on, found again from any folder."""

from __future__ import annotations

import os
from pathlib import Path

from bodvcl.data.sets import DATA_SETS, built_in
from bodvcl.errors import DataError


def data_of_run(data: str, checkpoint: Path, trained_in: Path | None) -> tuple[str, str | None]:
    """The data of a run's configuration, as it is reached from the current folder.

    A relative path means what it meant where training ran, if that is known and still there; else it is taken
    from the current folder.

    Args:
        data: as the configuration has it: a built-in data set, a path, or a data set by name with its folder.
        checkpoint: for the message.
        trained_in: the current folder of the training; None where it is not known.

    Returns:
        What to open, and a line for the user where that is not what ``data`` means in the current folder.

    Raises:
        DataError: nothing is there.
    """
    if built_in(data):
        return data, None
    prefix, place = _parts(data)
    path = Path(place).expanduser()
    there = None if trained_in is None else trained_in / path
    if there is not None and there.exists():
        if path.exists() and os.path.samefile(path, there):
            return data, None
        return f"{prefix}{there}", (
            f"the data of the run: {data} of {trained_in}, where training ran (--data takes other data)"
        )
    if path.exists():
        return data, None
    tried = "" if path.is_absolute() else f" in {Path.cwd()}"
    if there is not None and not path.is_absolute() and trained_in != Path.cwd():
        tried += f", nor in {trained_in}, where training ran"
    raise DataError(
        f"{place}: no such file or folder{tried}; that is the data in the configuration of {checkpoint}: "
        "say where it is now with --data"
    )


def _parts(data: str) -> tuple[str, str]:
    """The name of a data set with its colon, or nothing, and a path."""
    name, colon, root = data.partition(":")
    by_name = colon and root and name.partition("@")[0] in DATA_SETS and not Path(data).exists()
    return (f"{name}:", root) if by_name else ("", data)
