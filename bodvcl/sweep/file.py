"""A sweep as a YAML file: one command, what varies in it, and what is evaluated and reported.

::

    title: Weight of the orthogonality term
    run: train --config k400_simclr_slow_r50_8x8_rho2
    vary:
      prediction.nu: [0, 1e-5, 1e-4, 1e-3]
    then:
      K400 linear: finetune --recipe k400_linear --checkpoint {run} --data {kinetics400}
    small:
      run: train --data scenes --epochs 24 --workers 0
      then: {}
      seeds: 3

An axis of ``vary`` is an option with its values, or a name with labels that each stand for options
(``loss: {plain: --decouple none}``). The runs are all combinations.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from bodvcl.config.command_line import build
from bodvcl.config.recipes import read_keys
from bodvcl.config.schema import STRICT
from bodvcl.errors import ConfigError
from bodvcl.text.words import suggestion

Value = bool | int | float | str
Values = Annotated[tuple[Value, ...], Field(min_length=1)]
Labels = Annotated[dict[str, str], Field(min_length=1)]
Axis = Values | Labels | str
AXES = "a list of values, labels with options, or options with {checkpoint}"
"""What an axis can be: values of an option; labels with the options that each stands for; or one text of
options, in which ``{checkpoint}`` stands for each of --checkpoints."""


@dataclass
class Paper:
    """Numbers of the paper, shown beside those of the sweep."""

    __pydantic_config__ = STRICT

    source: str
    """Table or figure."""
    data: Annotated[tuple[str, ...], Field(min_length=1)]
    """Data sets that they were measured on, as `--data` names them."""
    values: Annotated[dict[str, dict[str, float]], Field(min_length=1)]
    """Column to row to number. A row is named by its labels, joined by a comma."""


@dataclass
class SweepFile:
    """What a sweep file holds."""

    __pydantic_config__ = STRICT

    title: str
    """Line above the table."""
    run: str
    """Verb and options of every run: train --data shapes --epochs 12."""
    vary: dict[str, Axis] = field(default_factory=dict)
    """Axis to its values or labels. Every combination is a run."""
    seeds: Annotated[int, Field(ge=1)] = 1
    """Repetitions of each combination: --seed 0, 1, ..."""
    then: dict[str, str] = field(default_factory=dict)
    """Name to verb and options of an evaluation of each run; {run} stands for the run's folder."""
    baseline: dict[str, Value] = field(default_factory=dict)
    """Axis to its label. Differences are taken to the row that has these labels and otherwise the same."""
    show: tuple[str, ...] = ()
    """Measurements that the table shows, by their names in it. Empty: all."""
    columns: str | None = None
    """Axis whose labels are columns of the table. None: every combination is a row."""
    over: str | None = None
    """Column of the table that is the horizontal axis of the plot. None: the axis that holds numbers."""
    paper: Paper | None = None
    """Numbers of the paper."""


def read_sweep(path: Path, small: bool = False) -> SweepFile:
    """Read a sweep file.

    Args:
        path: the file.
        small: apply what it says under ``small``: each key there replaces the one of the file.

    Raises:
        ConfigError: not a readable YAML file, an unknown field (the nearest one is named), a value of the
            wrong type, a field that is missing, or ``small`` where there is none.
    """
    values = read_keys(path, _Loader)
    size = values.pop("small", None)
    _refuse_unknown(SweepFile, values, f"{path}: ")
    if isinstance(size, Mapping):
        _refuse_unknown(SweepFile, size, f"{path}: small.")
    elif size is not None:
        raise ConfigError(f"{path}: small: expected fields of the sweep, got {size!r}")
    if small:
        if size is None:
            raise ConfigError(f"{path} has no `small` size: run it without --small")
        values |= size
    if isinstance(values.get("paper"), Mapping):
        _refuse_unknown(Paper, values["paper"], f"{path}: paper.")
    for name, axis in (values["vary"] if isinstance(values.get("vary"), Mapping) else {}).items():
        if not axis or not isinstance(axis, list | Mapping | str):
            raise ConfigError(f"{path}: vary.{name}: expected {AXES}, got {axis!r}")
    for name in ("vary", "then", "baseline"):
        if isinstance(values.get(name), Mapping):
            values[name] = _with_text_keys(values[name])
    if isinstance(paper := values.get("paper"), Mapping) and isinstance(paper.get("values"), Mapping):
        values["paper"] = {**paper, "values": _with_text_keys(paper["values"])}
    try:
        return build(SweepFile, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def label(value: Value) -> str:
    """A value of an axis as the table names it and as a command line takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _with_text_keys(values: Mapping[Any, Any]) -> dict[str, Any]:
    """YAML reads the label 0.1 as a number: labels are text, however deep."""
    return {
        label(key): _with_text_keys(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
    }


def _refuse_unknown(cls: type, values: Mapping[Any, Any], place: str) -> None:
    known = [f.name for f in dataclasses.fields(typing.cast(Any, cls))]
    if cls is SweepFile and not place.endswith("small."):
        known.append("small")
    for key in values:
        if key not in known:
            raise ConfigError(
                f"{place}{key}: unknown field{suggestion(str(key), known)}; there are: {', '.join(known)}"
            )


class _Loader(yaml.SafeLoader):
    """YAML that refuses the same key twice instead of dropping the first one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice[0]!r} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)
