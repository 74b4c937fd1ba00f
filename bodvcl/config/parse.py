"""Command line and YAML to a checked :class:`~bodvcl.config.schema.TrainConfig`.

Defaults, then the recipe (``--config``) or, with ``--resume``, the run's own ``config.yaml``, then the
options.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import tyro
import yaml
from pydantic import TypeAdapter, ValidationError

from bodvcl.config.backbones import model_contradictions
from bodvcl.config.engine_rules import engine_contradictions
from bodvcl.config.limits import MOST
from bodvcl.config.method_rules import method_contradictions
from bodvcl.config.passes import bilevel_contradictions
from bodvcl.config.schema import TrainConfig
from bodvcl.errors import ConfigError
from bodvcl.runs.folder import newest_run
from bodvcl.system.folders import expand

_ADAPTER = TypeAdapter(TrainConfig)
_FRAME = re.compile(r"[│╭╮╰╯─┌┐└┘━┃|+]+")
_PREAMBLE = re.compile(
    r"^(usage: .* error:|(Value|Parsing) error|Invalid choice|Missing argument|Unrecognized options(?= ))\s*"
)


def parse_config(argv: Sequence[str], prog: str = "bodvcl train") -> TrainConfig:
    """Parse command-line options into a configuration.

    Args:
        argv: options without the program's name.
        prog: name shown by ``--help``.

    Returns:
        The configuration, every range checked.

    Raises:
        ConfigError: an unknown option or key (the nearest name is suggested), a value out of range, a
            recipe that cannot be read.
        SystemExit: code 0 after ``--help``.
    """
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--config")
    peek.add_argument("--run-dir", "--run_dir", type=expand)
    peek.add_argument("--resume", action="store_true")
    with _as_config_error():
        early, _ = peek.parse_known_args(list(argv))
    _refuse_unknown_options(argv)

    base = TrainConfig()
    if early.config is not None:
        base = load_yaml(find_recipe(early.config))
    elif early.resume:
        run = early.run_dir or newest_run()
        if run is not None and (run / "config.yaml").exists():
            this_time = {"resume": False, "resume_with_other_videos": False, "dry_run": False}
            base = dataclasses.replace(load_yaml(run / "config.yaml"), run_dir=run, **this_time)
    with _as_config_error():
        config = tyro.cli(TrainConfig, args=list(argv), default=base, prog=prog)
    return validate(dataclasses.asdict(config))


def load_yaml(path: Path) -> TrainConfig:
    """Read a recipe; keys that neither it nor its bases set keep their defaults.

    A recipe can build on others: ``base: paper`` or ``base: [paper, my.yaml]`` names recipes of the package,
    or files relative to it. They are applied in this order, each after its own bases, and then the recipe's
    keys.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a value out of range, or a recipe that is its own
            base.
    """
    values = dataclasses.asdict(TrainConfig())
    for source, changes in _lineage(path):
        with _naming(source):
            values = _merge(values, changes)
    with _naming(path):
        return validate(values)


def dump_yaml(config: TrainConfig) -> str:
    """The resolved configuration as YAML that :func:`load_yaml` reads back unchanged."""
    return yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False)


def validate(values: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from nested values, checking types, ranges and what only holds across fields.

    Raises:
        ConfigError: names every offending field, its value and what was expected.
    """
    try:
        config = _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_describe(e) for e in error.errors())) from error
    problems = list(_absurd(dataclasses.asdict(config))) or list(_contradictions(config))
    if problems:
        raise ConfigError("; ".join(problems))
    return config


def find_recipe(name: str) -> Path:
    """A path as it is, or the name of a recipe that comes with the package.

    Raises:
        ConfigError: neither exists; the recipes there are, are listed.
    """
    path = expand(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    recipes = {
        Path(r.name).stem: r for r in resources.files("bodvcl.configs").iterdir() if r.name.endswith(".yaml")
    }
    if name not in recipes:
        raise ConfigError(
            f"no recipe named {name!r}{_nearest(name, recipes)}; there are: {', '.join(sorted(recipes))}. "
            "A file of your own must end in .yaml"
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


def option_names(cls: type = TrainConfig, prefix: str = "") -> Iterator[str]:
    """Every option without its leading dashes: ``data``, ``clip.frames``, ..."""
    for f in dataclasses.fields(cls):
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else None
        if dataclasses.is_dataclass(default):
            yield from option_names(type(default), f"{prefix}{f.name}.")
        else:
            yield prefix + f.name.replace("_", "-")


def _absurd(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _absurd(value, f"{prefix}{name}.")
        for number in value if isinstance(value, tuple) else (value,):
            most = MOST.get(type(number))
            if most is not None and abs(number) > most and name != "seed":
                yield f"{prefix}{name}: expected at most {_plainly(most)}, got {_plainly(number)}"


def _plainly(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def _contradictions(config: TrainConfig) -> Iterator[str]:
    power = config.koopman.smooth_power
    if power & (power - 1):
        yield f"koopman.smooth_power: expected a power of two, got {power}"
    yield from engine_contradictions(config)
    yield from model_contradictions(config)
    yield from method_contradictions(config)
    yield from bilevel_contradictions(config)
    a = config.augment
    for name, (low, high), top in (
        ("crop_area", a.crop_area, 1.0),
        ("crop_aspect", a.crop_aspect, None),
        ("blur_sigma", a.blur_sigma, None),
    ):
        if not 0 < low <= high or (top is not None and high > top):
            limit = f" <= {top:g}" if top else ""
            yield f"augment.{name}: expected 0 < low <= high{limit}, got {low:g} {high:g}"


_WHY_NOT_LESS = {
    "batch_size": "a contrastive loss needs other videos as negatives",
    "clip.views": "with one clip per video there is no positive",
    "clip.frames": "the Koopman operator is fitted on two pairs of frames or more",
    "model.embed_dim": "one number per frame cannot be split into a static and a dynamic part",
}


def _describe(error: Mapping[str, Any]) -> str:
    where = ".".join(
        str(part) for part in error["loc"] if part not in ("constrained-float", "constrained-int")
    )
    message = error["msg"][0].lower() + error["msg"][1:]
    if error["type"] == "greater_than_equal" and where in _WHY_NOT_LESS:
        message += f": {_WHY_NOT_LESS[where]}"
    return f"{where}: {message}, got {error['input']!r}"


def _merge(defaults: dict[str, Any], values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in values.items():
        if key not in defaults:
            raise ConfigError(f"unknown key {prefix}{key}{_nearest(str(key), defaults)}")
        if isinstance(defaults[key], dict):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{prefix}{key} is a group of keys ({', '.join(defaults[key])}), got {value!r}"
                )
            value = _merge(defaults[key], value, f"{prefix}{key}.")
        merged[key] = value
    return merged


def _refuse_unknown_options(argv: Sequence[str]) -> None:
    known = set(option_names())
    known |= {_negated(name) for name in known} | {"help"}
    for token in argv:
        if token.startswith("--") and len(token) > 2:
            name = token[2:].split("=")[0].replace("_", "-")
            if name not in {k.replace("_", "-") for k in known}:
                raise ConfigError(
                    f"unknown option {token.split('=')[0]}{_nearest(name, known, '--')}; see --help"
                )


def _negated(name: str) -> str:
    head, _, tail = name.rpartition(".")
    return f"{head}.no-{tail}" if head else f"no-{tail}"


def _nearest(name: str, among: Iterable[str], dash: str = "") -> str:
    names = sorted(among)
    if dash and name.startswith("no-") and _negated(name.removeprefix("no-")) in names:
        return f" (did you mean {dash}{_negated(name.removeprefix('no-'))}?)"
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not found:
        found = [n for n in names if n.rpartition(".")[2] == name]
    return f" (did you mean {dash}{found[0]}?)" if found else ""


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


@contextlib.contextmanager
def _as_config_error() -> Iterator[None]:
    """Turn a parser's framed, many-line complaint and exit code 2 into one line."""
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            yield
    except SystemExit as stop:
        if not stop.code:
            raise
        text = " ".join(_FRAME.sub(" ", captured.getvalue()).split())
        text = text.partition(" For full helptext")[0].partition(" Argument helptext")[0]
        raise ConfigError(_PREAMBLE.sub("", text).strip()) from None
