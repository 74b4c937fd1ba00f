"""Command line and YAML to a checked :class:`~bodvcl.config.schema.TrainConfig`.

Defaults, then the recipe (``--config``; for videos of the user ``videos``) or, with ``--resume``, the run's
own ``config.yaml``, then the options.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bodvcl.config.checks import contradictions
from bodvcl.config.command_line import build, parse_known, read
from bodvcl.config.recipes import as_yaml, find_recipe, lineage, merged, naming
from bodvcl.config.saved import as_meant
from bodvcl.config.schema import BUILT_IN, Fitted, TrainConfig, UserPath
from bodvcl.errors import ConfigError


@dataclasses.dataclass
class _Start:
    """The options that decide which values the others start from."""

    config: str | None = None
    data: str = TrainConfig.data
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
    base = _base(start, newest_run)
    found = read(TrainConfig, argv, prog=prog, default=base)
    found.fit = _left(found.fit, _typed(argv))
    return validate(dataclasses.asdict(found))


def _base(start: _Start, newest_run: Callable[[], Path | None]) -> TrainConfig:
    """The values of the options that are not given."""
    if start.config is not None:
        return load_yaml(find_recipe(start.config))
    run = (start.run_dir or newest_run()) if start.resume else None
    if run is not None and (run / "config.yaml").exists():
        return dataclasses.replace(
            load_yaml(run / "config.yaml"),
            run_dir=run,
            resume=False,
            resume_with_other_videos=False,
            dry_run=False,
        )
    return TrainConfig() if start.data in BUILT_IN else load_yaml(find_recipe(OWN_VIDEOS))


def _typed(argv: Sequence[str]) -> set[str]:
    """Dotted names of the fields whose options were typed."""
    return {token[2:].split("=")[0].replace("-", "_") for token in argv if token.startswith("--")}


def _left(names: Sequence[Fitted], given: Collection[str]) -> tuple[Fitted, ...]:
    """The options that are still to be chosen."""
    return tuple(name for name in names if name not in given)


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
    for source, changes in lineage(path):
        with naming(source):
            open_before = values["fit"]
            values = merged(values, as_meant(changes) if "run_dir" in changes else changes)
            if "fit" not in changes:
                values["fit"] = _left(open_before, set(_dotted(changes)))
    with naming(path):
        return validate(values)


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of nested values."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def dump_yaml(config: TrainConfig) -> str:
    """The resolved configuration as YAML that :func:`load_yaml` reads back unchanged."""
    return as_yaml(dataclasses.asdict(config))


OWN_VIDEOS = "videos"
"""The recipe for videos of the user, where no other is given."""
_WHY_NOT_LESS = {
    "batch_size": "a contrastive loss needs other videos as negatives",
    "clip.views": "with one clip per video there is no positive",
    "clip.frames": "the Koopman operator is fitted on two pairs of frames or more",
    "model.embed_dim": "one number per frame cannot be split into a static and a dynamic part",
}


def validate(values: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from nested values, checking types, ranges and what only holds across fields.

    While options are to be chosen (``fit``), nothing is checked across fields.

    Raises:
        ConfigError: names every offending field, its value and what was expected.
    """
    config = build(TrainConfig, values, reasons=_WHY_NOT_LESS)
    problems = [] if config.fit else list(contradictions(config))
    if problems:
        raise ConfigError("; ".join(problems))
    return config
