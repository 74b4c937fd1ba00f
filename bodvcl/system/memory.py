"""How much memory this machine, or the container or job that the program runs in, has."""

from __future__ import annotations

import os
from pathlib import Path

from bodvcl.system.cgroup import smallest_limit


def machine_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that processes here may use together. ``root``: where ``proc`` and ``sys`` are."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = smallest_limit("memory.max", root)
    return physical if limit is None else min(physical, limit)
