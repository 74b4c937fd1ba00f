"""The verbs that a sweep can run: what it adds to their options, and how these are checked beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bodvcl.config.command_line import parse
from bodvcl.config.parse import parse_config
from bodvcl.config.schema import TrainConfig
from bodvcl.detect.options import parse_options as parse_detection
from bodvcl.errors import ConfigError
from bodvcl.evaluate.options import ProbeOptions
from bodvcl.finetune.parse import parse_options
from bodvcl.runs.results import RESULTS
from bodvcl.sweep.job import OWN, SUMMARY, TRAINING, TUNING
from bodvcl.text.words import suggestion


@dataclass(frozen=True)
class Verb:
    """A verb of ``bodvcl``.

    Attributes:
        ending: options that the sweep adds: where it writes, and that it goes on where it was interrupted.
        check: parses options: equal results are equal runs. Raises what is wrong with them.
        result: file in its run folder that says that it has finished.
        ranks: whether several processes can run it together.
    """

    ending: tuple[str, ...]
    check: Callable[[Sequence[str]], object]
    result: str
    ranks: bool = False


TRAIN = "train"
"""The verb of pre-training."""

VERBS: Mapping[str, Verb] = {
    TRAIN: Verb(TRAINING, parse_config, "probe.json", ranks=True),
    "probe": Verb(
        ("--out", f"{OWN}/probe.json"),
        lambda options: parse(ProbeOptions, options, prog="bodvcl probe"),
        "probe.json",
    ),
    "finetune": Verb(TUNING, parse_options, RESULTS, ranks=True),
    "detect": Verb(TUNING, parse_detection, RESULTS, ranks=True),
}
"""Name to verb."""


def result_of(verb: Verb, parsed: object) -> str:
    """File that says that a command with these options has finished."""
    return SUMMARY if isinstance(parsed, TrainConfig) and not parsed.log.probe else verb.result


def find_verb(name: str) -> Verb:
    """A verb by its name.

    Raises:
        ConfigError: a sweep cannot run it.
    """
    if name not in VERBS:
        raise ConfigError(f"no verb {name!r}{suggestion(name, VERBS)}; a sweep can run: {', '.join(VERBS)}")
    return VERBS[name]
