"""The verb ``train``: pre-train a video encoder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.cli.parsing import parsed_by_all

if TYPE_CHECKING:
    from bodvcl.config.schema import TrainConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options and train; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("train", lambda: _train(arguments), answers=False)


def _train(arguments: Sequence[str]) -> int:
    config = _parse(arguments)
    with uninterrupted():
        from bodvcl.cli.pretrain import pretrain

    return pretrain(config)


def _parse(arguments: Sequence[str]) -> TrainConfig:
    with uninterrupted():
        from bodvcl.config.parse import parse_config
        from bodvcl.runs.folder import newest_run

    return parsed_by_all(lambda: parse_config(arguments, newest_run=newest_run))
