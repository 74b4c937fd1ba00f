"""``python -m bodvcl.train``: pre-train a video encoder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from bodvcl.console import run_verb
from bodvcl.errors import UserError
from bodvcl.parse import parse_config


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options and train; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)

    def train() -> int:
        try:
            config = parse_config(arguments)
        except UserError:
            if os.environ.get("RANK", "0") == "0":
                raise
            # Every process finds the same mistake: the first says so, then a launcher ends the others.
            time.sleep(10)
            raise SystemExit(2) from None
        from bodvcl.engine.pretrain import pretrain

        return pretrain(config)

    return run_verb("train", train)


if __name__ == "__main__":
    sys.exit(main())
