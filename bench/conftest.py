"""What an interrupted benchmark leaves."""

from __future__ import annotations


def pytest_benchmark_generate_json(benchmarks: list) -> None:
    """Leave out a benchmark that was interrupted before its first round: with it, none could be saved."""
    benchmarks[:] = [one for one in benchmarks if one]
