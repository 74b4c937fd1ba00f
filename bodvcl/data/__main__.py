"""``python -m bodvcl.data`` is ``bodvcl data``."""

from __future__ import annotations

import sys

from bodvcl.cli.data import main

sys.exit(main())
