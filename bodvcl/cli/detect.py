"""The verb ``detect``: train an encoder to detect the actions of people, or evaluate predictions."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.cli.parsing import parsed_by_all

_ABOUT = """Train an encoder to detect the actions of people in AVA, and evaluate it by frame mAP.

The boxes of people are given: annotated ones in training, detected ones in the test. Results are in the run
folder: results.json, ap.csv, and predictions.csv in the official format.

Examples:

bodvcl detect --checkpoint runs/NAME --data ava:/datasets/AVA --recipe ava

bodvcl detect --checkpoint runs/NAME --data ava:/datasets/AVA --recipe ava --boxes ground-truth --pictures 8

bodvcl detect --evaluate predictions.csv --data ava:/datasets/AVA
(frame mAP of any detector's predictions; nothing is trained)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options, train and test, or evaluate; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("detect", lambda: _detect(arguments), answers=False)


def _detect(arguments: Sequence[str]) -> int:
    with uninterrupted():
        from bodvcl.detect.options import parse_options

    options = parsed_by_all(lambda: parse_options(arguments, description=_ABOUT))
    with uninterrupted():
        from bodvcl.cli.tune_detector import evaluate, tune_detector

    return tune_detector(options) if options.evaluate is None else evaluate(options, options.evaluate)
