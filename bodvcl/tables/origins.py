"""What an encoder was before its evaluation: how it was pre-trained, whatever the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bodvcl.config.methods import method_title
from bodvcl.config.saved import as_meant
from bodvcl.runs.data_names import data_and_fold

_NOT_THE_METHOD = (
    "run_dir",
    "seed",
    "resume",
    "resume_with_other_videos",
    "dry_run",
    "device",
    "workers",
    "log",
)
"""Options that two repetitions of a run may differ in; so may the caches of the built-in data."""


@dataclass(frozen=True)
class Origin:
    """The pre-training of an encoder.

    Attributes:
        method: V-SimCLR + BOD-VCL; empty: not known.
        backbone: name of the backbone; empty: not known.
        seed: seed of the pre-training; None: not known, or not pre-trained.
        options: dotted name to value of every option, without seeds and folders. If they are not known, only
            ``checkpoint``; if nothing was pre-trained, nothing.
    """

    method: str
    backbone: str
    seed: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def origin_of(checkpoint: str | None, near: Path, method: str = "", backbone: str = "") -> Origin:
    """Read how a checkpoint was pre-trained, from ``config.yaml`` of its run.

    Args:
        checkpoint: folder of a run or a file in it, as the evaluation was given it; None: from scratch.
        near: folder of the evaluation; relative paths are tried from here, too.
        method, backbone: what the evaluation knows of them, for a run that is not there any more.
    """
    if checkpoint is None:
        return Origin(method or "from scratch", backbone)
    config = _config(Path(checkpoint), near)
    if config is None:
        return Origin(method, backbone, options={"checkpoint": checkpoint})
    options = dict(_flat({key: value for key, value in config.items() if key not in _NOT_THE_METHOD}))
    options = {key: value for key, value in options.items() if not key.endswith(".cache")}
    options["data"] = "@".join(filter(None, data_and_fold(str(config["data"]))))
    title = method_title(config["method"], config["decouple"])
    return Origin(title, config["model"]["backbone"], config["seed"], options)


def _config(checkpoint: Path, near: Path) -> dict[str, Any] | None:
    for start in (Path(), *near.parents):
        for folder in (start / checkpoint, *(start / checkpoint).parents[:2]):
            try:
                config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
                config["method"], config["decouple"], config["seed"], config["model"]["backbone"]
            except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError):
                continue
            return as_meant(config)
    return None


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", tuple(value) if isinstance(value, list) else value
