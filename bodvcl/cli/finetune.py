"""The verb ``finetune``: train a classifier on labelled videos, and test it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.cli.parsing import parsed_by_all

_ABOUT = """Train a classifier on labelled videos, from a trained encoder or from scratch, and test it.

Everything is fine-tuned, or only the linear layer (linear evaluation), or the last parts of the network. The
test averages the probabilities of several views of each video. Results are in the run folder: results.json,
predictions.csv, confusion.csv and confusion.png, and the classifier in checkpoint/classifier.pt.

Examples:

bodvcl finetune --checkpoint runs/NAME --data ucf101@1:/datasets/UCF101 --recipe ucf101

bodvcl finetune --checkpoint runs/NAME --data ucf101@all:/datasets/UCF101 --recipe ucf101
(one run for each of the three splits, and their mean)

bodvcl finetune --checkpoint runs/NAME --data kinetics400:/datasets/k400 --recipe k400_linear

bodvcl finetune --checkpoint scratch --data my/labels.csv --label action --epochs 20

bodvcl finetune --list-recipes"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options, train and test; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("finetune", lambda: _finetune(arguments), answers=False)


def _finetune(arguments: Sequence[str]) -> int:
    with uninterrupted():
        from bodvcl.finetune.parse import list_recipes, parse_options

    options = parsed_by_all(lambda: parse_options(arguments, description=_ABOUT))
    if options.list_recipes:
        print("\n".join(list_recipes()))
        return 0
    with uninterrupted():
        from bodvcl.cli.tune import finetune

    return finetune(options)
