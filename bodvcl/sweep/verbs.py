"""The verbs that a sweep can run: what it adds to their options, and how these are checked beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bodvcl.config.command_line import parse
from bodvcl.config.parse import parse_config
from bodvcl.config.schema import TrainConfig
from bodvcl.errors import ConfigError
from bodvcl.evaluate.options import ProbeOptions
from bodvcl.sweep.job import OWN, TRAINING
from bodvcl.text.words import suggestion


@dataclass(frozen=True)
class Verb:
    """A verb of ``bodvcl``.

    Attributes:
        module: what runs it.
        ending: options that the sweep adds: where it writes, and that it goes on where it was interrupted.
        check: parses options: equal results are equal runs. Raises what is wrong with them.
        result: file in its run folder that says that it has finished.
        ranks: whether several processes can run it together.
    """

    module: str
    ending: tuple[str, ...]
    check: Callable[[Sequence[str]], object]
    result: str
    ranks: bool = False


def _check_training(options: Sequence[str]) -> TrainConfig:
    config = parse_config(options)
    if not config.log.probe:
        raise ConfigError("a sweep reports the probe at the end of each training: remove --log.no-probe")
    return config


VERBS: Mapping[str, Verb] = {
    "train": Verb("bodvcl.train", TRAINING, _check_training, "probe.json", ranks=True),
    "probe": Verb(
        "bodvcl.probe",
        ("--out", f"{OWN}/probe.json"),
        lambda options: parse(ProbeOptions, options, prog="bodvcl probe"),
        "probe.json",
    ),
}
"""Name to verb."""


def find_verb(name: str) -> Verb:
    """A verb by its name.

    Raises:
        ConfigError: a sweep cannot run it.
    """
    if name not in VERBS:
        raise ConfigError(f"no verb {name!r}{suggestion(name, VERBS)}; a sweep can run: {', '.join(VERBS)}")
    return VERBS[name]
