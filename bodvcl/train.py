"""``python -m bodvcl.train``: pre-train a video encoder."""

from __future__ import annotations

import sys

from bodvcl.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
