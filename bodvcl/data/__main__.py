"""``python -m bodvcl.data`` is ``bodvcl data``."""

from __future__ import annotations

import sys

from bodvcl.data_cli import main

sys.exit(main())
