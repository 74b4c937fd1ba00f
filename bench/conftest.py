"""What an interrupted benchmark leaves, and the ratios between the routes of a group."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # for timing.py and ceilings.py, also with PYTHONSAFEPATH

from timing import add_speedups

BASELINES = ("baseline", "paper", "torch", "eager", "sdpa", "torchvision", "bare_pyav", "pyav")


def pytest_benchmark_generate_json(benchmarks: list) -> None:
    """Leave out a benchmark that was interrupted before its first round: with it, none could be saved."""
    benchmarks[:] = [one for one in benchmarks if one]
    for one in benchmarks:
        one.extra_info["median_s"] = float(one.stats.median)
    add_speedups([(one.group, one.extra_info) for one in benchmarks], BASELINES)
