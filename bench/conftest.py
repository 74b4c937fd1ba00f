"""What an interrupted or killed benchmark leaves, and the ratios between the routes of a group."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parent))  # for timing.py and ceilings.py, also with PYTHONSAFEPATH

from timing import add_speedups

BASELINES = ("baseline", "exact", "paper", "torch", "eager", "sdpa", "torchvision", "bare_pyav", "pyav")


_finished: list[dict[str, Any]] = []


@pytest.fixture
def one_thread() -> Generator[None]:
    """PyTorch computes in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _kept(request: pytest.FixtureRequest) -> Generator[None]:
    """Every finished benchmark is in ``<json file>.part`` at once, whatever ends the session."""
    yield
    measured = getattr(request.node.funcargs.get("benchmark"), "stats", None)
    whole = request.config.getoption("benchmark_json", None)
    if not measured or whole is None:
        return
    numbers = measured.stats
    measured.extra_info["median_s"] = float(numbers.median)
    kept = {name: getattr(numbers, name) for name in ("min", "median", "max", "rounds")}
    entry = {"name": measured.name, "group": measured.group, "stats": kept, "extra_info": measured.extra_info}
    _finished.append(entry)
    add_speedups([(one["group"], one["extra_info"]) for one in _finished], BASELINES)
    path = whole if isinstance(whole, (str, os.PathLike)) else whole.name  # by release, a path or a file
    Path(f"{path}.part").write_text(json.dumps({"benchmarks": _finished}))


def pytest_benchmark_generate_json(benchmarks: list) -> None:
    """Leave out a benchmark that was interrupted before its first round: with it, none could be saved."""
    benchmarks[:] = [one for one in benchmarks if one]
    add_speedups([(one.group, one.extra_info) for one in benchmarks], BASELINES)
