"""The ``bodvcl`` command: ``bodvcl VERB [OPTIONS]``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import bodvcl
from bodvcl.cli.choice import choose
from bodvcl.errors import ConfigError
from bodvcl.system.streams import steady_streams

VERBS = {
    "train": "pre-train a video encoder on a folder or list of videos, or on the built-in data",
    "probe": "evaluate the frozen features of a trained encoder on labelled videos",
    "finetune": "train a classifier from a trained encoder on labelled videos, and test it",
    "detect": "train an encoder to detect the actions of people (AVA), or evaluate predictions",
    "compare": "train with and without BOD-VCL on your labelled videos, and say which reads more of them",
    "sweep": "run all combinations of a sweep file, such as an ablation of the paper, and make a table",
    "table": "make a table of any runs in Markdown, LaTeX or CSV",
    "figures": "draw the figures of the paper for one or more runs, side by side",
    "embed": "write the features of videos, or of windows of long ones, into a file",
    "search": "find videos that look alike or move alike, copies, outliers and clusters",
    "serve": "click from video to video by appearance and by motion, on a local page",
    "export": "write a trained encoder as safetensors, TorchScript, torch.export, ONNX or for the Hub",
    "data": "check a data set, look at its clips, make a training copy",
    "info": "show versions, what was built and loaded, and which backend each operator uses here",
    "doctor": "check whether this machine, or each rank of a job, is fit for a training",
    "report": "build report.html again from a run folder",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the options to the verb's own ``main``; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    verb = arguments[0]
    if verb not in VERBS:
        with steady_streams():
            return _without_verb(arguments)
    return int(importlib.import_module(f"bodvcl.cli.{verb}").main(arguments[1:]))


def _without_verb(arguments: Sequence[str]) -> int:
    if arguments[0] == "--version":
        print(f"bodvcl {bodvcl.__version__}")
        return 0
    about = (bodvcl.__doc__ or "").partition("\n")[0]
    try:
        choose(arguments, VERBS, prog="bodvcl", noun="verb", about=about)
    except ConfigError as error:
        print(f"bodvcl: error: {error}", file=sys.stderr)
        return 2
    return 0
