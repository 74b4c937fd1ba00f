"""``python -m bodvcl.info``: versions, what was built and loaded, the backend of each operator."""

from __future__ import annotations

import sys

from bodvcl.cli.info import main

if __name__ == "__main__":
    sys.exit(main())
