"""``python -m bodvcl.report``: rebuild the report of a run."""

from __future__ import annotations

import sys

from bodvcl.cli.report import main

if __name__ == "__main__":
    sys.exit(main())
