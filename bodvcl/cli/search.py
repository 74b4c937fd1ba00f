"""The verb ``search``: videos that look alike or move alike, from a file of ``bodvcl embed``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.cli.writable import check_writable
from bodvcl.config.command_line import parse
from bodvcl.search.options import SearchOptions, refuse_contradictions


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options and search; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("search", lambda: _search(arguments))


def _search(arguments: Sequence[str]) -> int:
    options = parse(SearchOptions, arguments, prog="bodvcl search")
    refuse_contradictions(options)
    for option, path in (("--out", options.out), ("--page", options.page)):
        if path is not None:
            check_writable(option, path)
    with uninterrupted():
        from bodvcl.cli.search_answer import print_answer, write_out, write_page
        from bodvcl.cli.search_curate import clusters, duplicates, label_agreement, outliers
        from bodvcl.cli.search_like import like
        from bodvcl.search.space import open_space
        from bodvcl.search.weight import by_words

    space = open_space(options.file, many_queries=False)
    if options.like is not None:
        answer = like(space, options)
    elif options.duplicates:
        answer = duplicates(space, options)
    elif options.outliers:
        answer = outliers(space, options)
    elif options.agreement:
        answer = label_agreement(space, options)
    else:
        answer = clusters(space, options)
    print_answer(answer, space.embeddings)
    if options.out is not None:
        write_out(answer, options.out)
        print(f"wrote {options.out}")
    if options.page is not None:
        about = space.embeddings.about
        facts = {
            "file": str(options.file),
            "rows": f"{len(space.embeddings):,}",
            "data": about.data,
            "checkpoint": f"{about.checkpoint}, step {about.step:,}",
            "compared": by_words(options.motion),
        }
        write_page(answer, space.embeddings, facts, options.page)
        print(f"wrote {options.page}")
    return 0
