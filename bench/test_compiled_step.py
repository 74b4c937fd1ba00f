"""A training step with ``--compile`` beside the same step without it.

Before anything is timed, the losses of the first step are compared. Compiled and plain steps take turns, so
that a busy machine disturbs both. The time of the first compiled step, with that of the compiler, is reported
and is not in the medians.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import time

import pytest
import torch
from test_train_step import CASES, DEVICE, make_config, make_step

ORDER = (
    ("slow_r50 8x224x224", "bod, fd, head"),
    ("tiny 8x48x48", "bod, fd, head"),
    ("tiny 8x48x48", "none"),
    ("slow_r50 8x224x224", "none"),
    ("r2plus1d_18 16x112x112", "bod, fd, head"),
    ("tiny 8x48x48", "bod, fd"),
)
"""The most important first: where the time ends, the last are missing."""
ROUNDS = 9


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize(("name", "method"), ORDER)
def test_compiled_step(benchmark, name, method):
    if DEVICE.type == "cpu" and not name.startswith("tiny"):
        pytest.skip("needs a GPU")
    config = make_config(CASES[name], method, True, "auto")
    plain = make_step(CASES[name], config)
    compiled = make_step(CASES[name], dataclasses.replace(config, compile=True))
    start = time.perf_counter()
    first = compiled()
    seconds = {"first": time.perf_counter() - start}
    assert first == pytest.approx(plain(), rel=2e-2)
    times: dict[str, list[float]] = {"plain": [], "compiled": []}
    for _ in range(0 if benchmark.disabled else ROUNDS):
        for kind, step in (("plain", plain), ("compiled", compiled)):
            start = time.perf_counter()
            step()  # which reads its loss, and so waits for the device
            times[kind].append(time.perf_counter() - start)
    benchmark.group = f"training step with --compile, {name}, {method}"
    benchmark.pedantic(compiled, rounds=3)
    if benchmark.disabled:
        return
    seconds |= {kind: statistics.median(values[2:]) for kind, values in times.items()}
    benchmark.extra_info |= {f"{kind}_seconds": value for kind, value in seconds.items()}
    benchmark.extra_info["ratio_to_plain"] = seconds["compiled"] / seconds["plain"]
    torch.compiler.reset()
