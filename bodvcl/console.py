"""How every verb meets the terminal: one-line errors, exit codes, and plain tables."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable

from bodvcl.errors import UserError


def run_verb(name: str, body: Callable[[], int]) -> int:
    """Run a verb; a mistake that the user can mend becomes one line on stderr and exit code 2, Ctrl-C 130,
    a closed pipe 141."""
    with warnings.catch_warnings():
        warnings.showwarning = _one_line(name)
        try:
            code = body()
            sys.stdout.flush()
            return code
        except UserError as error:
            print(f"bodvcl {name}: error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"bodvcl {name}: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:  # the reader, `head` say, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141


def _one_line(name: str) -> Callable[..., None]:
    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"bodvcl {name}: warning: {message}", file=sys.stderr)

    return show
