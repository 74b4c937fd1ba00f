"""Names of data sets in tables and model cards."""

from __future__ import annotations

import re
from pathlib import Path


def data_and_fold(spec: str) -> tuple[str, str]:
    """``ucf101@1:/data`` to ``ucf101`` and ``1``; a folder or a list to its last part."""
    if "://" in spec:
        return spec.rpartition("/")[2], ""
    match = re.fullmatch(r"(?P<name>\w+)(?:@(?P<fold>\w+))?(?::.*)?", spec)
    if match is None:
        return Path(spec).name or spec, ""
    return match["name"], match["fold"] or ""
