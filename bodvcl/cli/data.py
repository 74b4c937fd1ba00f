"""``bodvcl data``: look at a data set, check it, and make a training copy of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodvcl.cli.choice import choose
from bodvcl.cli.console import run_verb, uninterrupted

ACTIONS = {
    "scan": "check every file in parallel, report faulty files, and index what training needs",
    "show": "draw a contact sheet of clips as training sees them after augmentation",
    "transcode": "write a training copy: small H.264 files with short groups of pictures, without sound",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the options to the action; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = f"data {arguments[0]}" if arguments and arguments[0] in ACTIONS else "data"
    return run_verb(name, lambda: _act(arguments))


def _act(arguments: Sequence[str]) -> int:
    about = "Look at a data set, check it, and make a training copy of it."
    action = choose(arguments, ACTIONS, prog="bodvcl data", noun="action", about=about)
    rest = arguments[1:]
    if action == "scan":
        from bodvcl.cli.data_scan import scan_verb

        return scan_verb(rest)
    if action == "transcode":
        from bodvcl.cli.data_transcode import transcode_verb

        return transcode_verb(rest)
    if action == "show":
        with uninterrupted():
            from bodvcl.cli.data_show import show_verb

        return show_verb(rest)
    return 0
