"""The configuration that a run has saved, read by a later release.

An option that did not exist then is not in it. Where its default would change what the run does, it gets the
value that says what the run did. One that does not exist any more is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEANT: Mapping[str, Mapping[str, Any]] = {
    "koopman": {"dynamic": "mean", "static": "part"},
    "objective": {"dynamic_weight": 1.0},
    "augment": {"mix": 0.0},
}
"""Group to the options that older runs do not have, and what they did."""

MEANT_ALONE: Mapping[str, Any] = {"sync_norm_group": "all"}
"""Options outside of groups that older runs do not have, and what they did."""

GONE: Mapping[str, tuple[str, ...]] = {"augment": ("mix_gain",)}
"""Group to the options that older runs have and no run has any more."""


def as_meant(values: Mapping[str, Any]) -> dict[str, Any]:
    """The saved values, with what the run did for the options that did not exist then, and none that is gone.

    Args:
        values: nested values of a whole configuration, as `config.yaml` or a checkpoint holds them.
    """
    complete = {**MEANT_ALONE, **values}
    for group, meant in MEANT.items():
        if isinstance(complete.get(group), Mapping):
            complete[group] = {**meant, **complete[group]}
    for group, names in GONE.items():
        if isinstance(complete.get(group), Mapping):
            complete[group] = {name: x for name, x in complete[group].items() if name not in names}
    return complete
