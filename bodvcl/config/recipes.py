"""Recipes: .yaml files with values of options, which can build on others. For every dataclass of options."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from bodvcl.errors import ConfigError
from bodvcl.system.folders import expand
from bodvcl.text.words import suggestion


def recipe_names(kind: str = "") -> list[str]:
    """Names of the recipes of the package, sorted.

    Args:
        kind: folder in configs/ that holds them; empty: configs/ itself.
    """
    return sorted(_recipes(kind))


def find_recipe(name: str, kind: str = "") -> Path:
    """The path of a recipe: a .yaml file, or the name of a recipe in configs/.

    Args:
        name: what the user gave.
        kind: as for :func:`recipe_names`.

    Raises:
        ConfigError: no recipe has this name; the message lists all names.
    """
    path = expand(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    recipes = _recipes(kind)
    if name not in recipes:
        raise ConfigError(
            f"no recipe named {name!r}{suggestion(name, recipes)}; there are: {', '.join(sorted(recipes))}. "
            "The name of your own file must end in .yaml"
        )
    return recipes[name]


def lineage(
    path: Path, kind: str = "", heirs: tuple[Path, ...] = ()
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The keys of a recipe's bases, the most distant first, and then its own.

    ``base: paper`` or ``base: [paper, my.yaml]`` names recipes of the package, or files relative to it. They
    come in this order, each after its own bases.

    Args:
        path: the recipe.
        kind: as for :func:`recipe_names`.
        heirs: recipes that build on this one.

    Raises:
        ConfigError: no such file, not YAML, or a recipe that is its own base.
    """
    if path.resolve() in heirs:
        raise ConfigError(f"{path} is its own base: {' -> '.join(p.name for p in (*heirs, path))}")
    values = read_keys(path)
    bases = values.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(name, str) for name in bases):
        raise ConfigError(f"{path}: base: expected the name of a recipe or a list of names, got {bases!r}")
    for name in bases:
        with naming(path):
            base = find_recipe(name, kind)
        yield from lineage(path.parent / base, kind, (*heirs, path.resolve()))
    yield path, values


def read_keys(path: Path) -> dict[str, Any]:
    """The keys of one .yaml file.

    Raises:
        ConfigError: no such file, or not YAML.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8 ({error})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold `key: value` lines, found {type(values).__name__}")
    return values


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong in it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def merged(defaults: Mapping[str, Any], values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values, overridden by others.

    Raises:
        ConfigError: a key that the first do not have, or a value where they have a group.
    """
    result = dict(defaults)
    for key, value in values.items():
        if key not in defaults:
            raise ConfigError(f"unknown key {prefix}{key}{suggestion(str(key), defaults)}")
        if isinstance(defaults[key], dict):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{prefix}{key} is a group of keys ({', '.join(defaults[key])}), got {value!r}"
                )
            value = merged(defaults[key], value, f"{prefix}{key}.")
        result[key] = value
    return result


def as_yaml(values: Mapping[str, Any]) -> str:
    """Nested values of options as YAML."""
    return yaml.safe_dump(_plain(values), sort_keys=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _recipes(kind: str) -> dict[str, Path]:
    folder = resources.files("bodvcl.configs")
    files = (folder / kind if kind else folder).iterdir()
    return {Path(f.name).stem: Path(str(f)) for f in files if f.name.endswith(".yaml")}
