"""The verb ``detect``: train an encoder to detect the actions of people, or evaluate predictions."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options, train and test; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("detect", lambda: _detect(arguments))


def _detect(arguments: Sequence[str]) -> int:
    from bodvcl.config.command_line import parse
    from bodvcl.detect.options import DetectOptions, detect_contradictions
    from bodvcl.finetune.loop_options import refuse_contradictions

    options = parse(DetectOptions, arguments, prog="bodvcl detect")
    refuse_contradictions(detect_contradictions(options))
    with uninterrupted():
        from bodvcl.detect.annotations import evaluate_file
        from bodvcl.detect.dry_run import dry_run
        from bodvcl.detect.run import detect
        from bodvcl.engine.device import pick_device
        from bodvcl.engine.ranks import PeerFailed, Ranks, silent, world_from_environment
        from bodvcl.system.global_state import restored
        from bodvcl.system.surroundings import as_user_errors
        from bodvcl.text.tables import show

    if options.evaluate is not None:
        show(*evaluate_file(options, options.evaluate).tables())
        return 0
    world = world_from_environment()
    ranks = Ranks(world, pick_device(options.device, world))
    if options.dry_run:
        for line in dry_run(options) if ranks.first else ():
            print(line)
        return 0
    try:
        with (
            restored(),
            contextlib.ExitStack() as held,
            ranks,
            silent(unless=ranks.first),
            as_user_errors("lower --batch-size"),
        ):
            return detect(options, ranks, held)
    except PeerFailed:
        return 2
    except UserError:
        if ranks.speaks:
            raise
        return 2
