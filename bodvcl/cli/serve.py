"""The verb ``serve``: click from a video to those that look or move alike, on a local page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from bodvcl.cli.console import Terminated, run_verb, uninterrupted
from bodvcl.config.command_line import Positional, argument, parse
from bodvcl.config.schema import STRICT, UserPath


@dataclass
class ServeOptions:
    """Show the videos of a file of bodvcl embed on a local page: click from one to those that look alike, or
    that move alike.

    The page needs no network. Ctrl-C ends it."""

    __pydantic_config__ = STRICT

    file: Annotated[Positional[UserPath], argument(metavar="FILE")]
    """File that bodvcl embed --out has written."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port of the page. 0: any free one."""
    host: str = "127.0.0.1"
    """Address to listen at. The default can be reached from this machine only; with 0.0.0.0 everyone who
    reaches this machine sees the videos."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("serve", lambda: _serve(parse(ServeOptions, arguments, prog="bodvcl serve")))


def _serve(options: ServeOptions) -> int:
    with uninterrupted():
        from bodvcl.embed.file import read_about
        from bodvcl.search.space import open_space
        from bodvcl.serve.app import App
        from bodvcl.serve.server import Server

    read_about(options.file)
    with Server(options.host, options.port) as server:
        app = App(open_space(options.file), options.file.name)
        if not server.local:
            print(
                f"bodvcl serve: warning: everyone who can reach {options.host}, port {server.server_port}, "
                "can see the videos of this file",
                file=sys.stderr,
            )
        print(f"{options.file}: open {server.url} in a browser; Ctrl-C ends it", flush=True)
        try:
            server.answer(app.respond)
        except Terminated:
            raise
        except KeyboardInterrupt:
            print("ended")
        finally:
            app.close()
    return 0
