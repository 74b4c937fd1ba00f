"""``python -m bodvcl.data_cli``: the command ``bodvcl data`` as release 0.1.0 also named it, kept."""

from __future__ import annotations

import sys

from bodvcl.cli.data import main

if __name__ == "__main__":
    sys.exit(main())
