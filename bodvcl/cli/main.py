"""The ``bodvcl`` command: ``bodvcl train``, ``bodvcl info``, ``bodvcl report``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import bodvcl
from bodvcl.system.streams import steady_streams

VERBS = {
    "train": "pre-train a video encoder on a folder or list of videos, or on the built-in data",
    "probe": "what can be read from the frozen features of a trained encoder, on any labelled videos",
    "data": "check a data set, make a training copy of it, look at its clips",
    "info": "versions, what was built and loaded, which backend each operator would use here",
    "report": "build report.html again from a run folder",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the options to the verb's own ``main``; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in VERBS:
        verb = arguments[0]
        return importlib.import_module(f"bodvcl.cli.{verb}").main(arguments[1:])
    with steady_streams():
        return _without_verb(arguments)


def _without_verb(arguments: Sequence[str]) -> int:
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help", "help"):
        print(_help())
        return 0
    if verb == "--version":
        print(f"bodvcl {bodvcl.__version__}")
        return 0
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    print(f"bodvcl: error: no verb {verb!r}{hint}; there are: {', '.join(VERBS)}", file=sys.stderr)
    return 2


def _help() -> str:
    lines = ["usage: bodvcl VERB [OPTIONS]", "", bodvcl.__doc__ or "", "", "verbs:"]
    lines += [f"  {verb:<8} {text}" for verb, text in VERBS.items()]
    lines += ["", "bodvcl VERB --help explains a verb; python -m bodvcl.VERB is the same."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
