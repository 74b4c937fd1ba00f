"""``python -m bodvcl.probe``: evaluate the frozen features of an encoder."""

from __future__ import annotations

import sys

from bodvcl.cli.probe import main

if __name__ == "__main__":
    sys.exit(main())
