"""``python -m bodvcl VERB``."""

from __future__ import annotations

import sys

from bodvcl.cli.main import main

sys.exit(main())
