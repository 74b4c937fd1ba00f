"""Where sweep files are: those of the package, by name, and one's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from bodvcl.errors import ConfigError
from bodvcl.system.folders import expand
from bodvcl.text.words import suggestion

GROUPS = ("ablations", "transfer")
"""Folders of sweep files in ``configs/``."""


def packaged() -> dict[str, Path]:
    """Every sweep file of the package: ``ablations/nu`` to its path."""
    found: dict[str, Path] = {}
    for group in GROUPS:
        folder = resources.files("bodvcl.configs") / group
        names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
        found |= {
            f"{group}/{name.removesuffix('.yaml')}": Path(str(folder / name))
            for name in names
            if name.endswith(".yaml")
        }
    return found


def find_sweep(name: str) -> Path:
    """The path of a sweep file: a ``.yaml`` file, or a name as ``ablations/nu`` or ``nu``.

    ``ablations/nu.yaml`` is that of the package where no such file is here.

    Raises:
        ConfigError: there is none with this name; the message lists all names.
    """
    path, files = expand(name), packaged()
    if path.suffix in (".yaml", ".yml"):
        return path if path.exists() else files.get(name.removesuffix(".yaml"), path)
    short = {known.partition("/")[2]: known for known in files}
    known = short.get(name, name)
    if known not in files:
        hint = suggestion(name, [*files, *short])
        raise ConfigError(
            f"no sweep named {name!r}{hint}; there are: {', '.join(files)}. "
            "The name of your own file must end in .yaml"
        )
    return files[known]
