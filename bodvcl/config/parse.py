"""Command line and YAML to a checked :class:`~bodvcl.config.schema.TrainConfig`.

Defaults, then the recipe (``--config``) or, with ``--resume``, the run's own ``config.yaml``, then the
options.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from bodvcl.config.checks import contradictions
from bodvcl.config.command_line import build, parse_known, read
from bodvcl.config.saved import as_meant
from bodvcl.config.schema import TrainConfig, UserPath
from bodvcl.errors import ConfigError
from bodvcl.system.folders import expand
from bodvcl.text.words import suggestion


@dataclasses.dataclass
class _Start:
    """The options that decide which values the others start from."""

    config: str | None = None
    run_dir: UserPath | None = None
    resume: bool = False


def parse_config(
    argv: Sequence[str], prog: str = "bodvcl train", newest_run: Callable[[], Path | None] = lambda: None
) -> TrainConfig:
    """Parse command-line options into a configuration.

    Args:
        argv: options without the program's name.
        prog: name shown by ``--help``.
        newest_run: finds the run that ``--resume`` without ``--run-dir`` goes on with.

    Returns:
        The configuration, every range checked.

    Raises:
        ConfigError: an unknown option or key (the nearest name is suggested), a value out of range, a
            recipe that cannot be read.
        SystemExit: code 0 after ``--help``.
    """
    start, _ = parse_known(_Start, argv, prog=prog, help=False)
    base = TrainConfig()
    if start.config is not None:
        base = load_yaml(find_recipe(start.config))
    elif start.resume:
        run = start.run_dir or newest_run()
        if run is not None and (run / "config.yaml").exists():
            base = dataclasses.replace(
                load_yaml(run / "config.yaml"),
                run_dir=run,
                resume=False,
                resume_with_other_videos=False,
                dry_run=False,
            )
    return validate(dataclasses.asdict(read(TrainConfig, argv, prog=prog, default=base)))


def load_yaml(path: Path) -> TrainConfig:
    """Read a recipe; keys that neither it nor its bases set keep their defaults.

    A recipe can build on others: ``base: paper`` or ``base: [paper, my.yaml]`` names recipes of the package,
    or files relative to it. They are applied in this order, each after its own bases, and then the recipe's
    keys. The configuration that a run has saved is a recipe too; it means what it meant when it was written.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a value out of range, or a recipe that is its own
            base.
    """
    values = dataclasses.asdict(TrainConfig())
    for source, changes in _lineage(path):
        with _naming(source):
            values = _merge(values, as_meant(changes) if "run_dir" in changes else changes)
    with _naming(path):
        return validate(values)


def dump_yaml(config: TrainConfig) -> str:
    """The resolved configuration as YAML that :func:`load_yaml` reads back unchanged."""
    return yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False)


_WHY_NOT_LESS = {
    "batch_size": "a contrastive loss needs other videos as negatives",
    "clip.views": "with one clip per video there is no positive",
    "clip.frames": "the Koopman operator is fitted on two pairs of frames or more",
    "model.embed_dim": "one number per frame cannot be split into a static and a dynamic part",
}


def validate(values: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from nested values, checking types, ranges and what only holds across fields.

    Raises:
        ConfigError: names every offending field, its value and what was expected.
    """
    config = build(TrainConfig, values, reasons=_WHY_NOT_LESS)
    problems = list(contradictions(config))
    if problems:
        raise ConfigError("; ".join(problems))
    return config


def find_recipe(name: str) -> Path:
    """The path of a recipe: a .yaml file, or the name of a recipe in configs/.

    Raises:
        ConfigError: no recipe has this name; the message lists all names.
    """
    path = expand(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    recipes = {
        Path(r.name).stem: r for r in resources.files("bodvcl.configs").iterdir() if r.name.endswith(".yaml")
    }
    if name not in recipes:
        raise ConfigError(
            f"no recipe named {name!r}{suggestion(name, recipes)}; there are: {', '.join(sorted(recipes))}. "
            "The name of your own file must end in .yaml"
        )
    return Path(str(recipes[name]))


def _lineage(path: Path, heirs: tuple[Path, ...] = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The keys of a recipe's bases, the most distant first, and then its own."""
    if path.resolve() in heirs:
        raise ConfigError(f"{path} is its own base: {' -> '.join(p.name for p in (*heirs, path))}")
    values = _read_keys(path)
    bases = values.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(name, str) for name in bases):
        raise ConfigError(f"{path}: base: expected the name of a recipe or a list of names, got {bases!r}")
    for name in bases:
        with _naming(path):
            base = find_recipe(name)
        yield from _lineage(path.parent / base, (*heirs, path.resolve()))
    yield path, values


def _read_keys(path: Path) -> dict[str, Any]:
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
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong in it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _merge(defaults: dict[str, Any], values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in values.items():
        if key not in defaults:
            raise ConfigError(f"unknown key {prefix}{key}{suggestion(str(key), defaults)}")
        if isinstance(defaults[key], dict):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{prefix}{key} is a group of keys ({', '.join(defaults[key])}), got {value!r}"
                )
            value = _merge(defaults[key], value, f"{prefix}{key}.")
        merged[key] = value
    return merged


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
