"""The verb ``embed``: the features of videos, or of windows of long ones, in a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.cli.writable import check_writable
from bodvcl.config.command_line import parse
from bodvcl.embed.options import EmbedOptions, refuse_contradictions


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options and embed; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb(
        "embed", lambda: _embed(parse(EmbedOptions, arguments, prog="bodvcl embed")), answers=False
    )


def _embed(options: EmbedOptions) -> int:
    """Embed; under ``torchrun``, this process takes its place among the others."""
    with uninterrupted():
        from bodvcl.cli.together import together, workers_of_process
        from bodvcl.embed.file import check_suffix
        from bodvcl.embed.run import embed
        from bodvcl.engine.device import pick_device
        from bodvcl.engine.ranks import Ranks, world_from_environment

    refuse_contradictions(options)
    check_suffix(options.out)
    check_writable("--out", options.out)
    world = world_from_environment()
    ranks = Ranks(world, pick_device(options.device, world))
    with together(ranks, "take smaller clips with --clip.size, or fewer --workers"):
        embed(options, ranks, workers=workers_of_process(options.workers, world))
    return 0
