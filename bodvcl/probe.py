"""``python -m bodvcl.probe``: what the frozen features of an encoder tell."""

from __future__ import annotations

import sys

from bodvcl.cli.probe import main

if __name__ == "__main__":
    sys.exit(main())
