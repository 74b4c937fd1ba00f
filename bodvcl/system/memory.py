"""How much memory this machine, or the container or job that the program runs in, has."""

from __future__ import annotations

import os

from bodvcl.system.cgroup import smallest_limit


def machine_memory() -> int:
    """Bytes of memory that processes here may use together."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = smallest_limit("memory.max")
    return physical if limit is None else min(physical, limit)
