"""How long a function takes on a GPU, seen in four ways, and ratios between the routes of a group."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

ROUNDS = 30


def gpu_times(call: Callable[[], object], rounds: int = ROUNDS) -> dict[str, float | str]:
    """Seconds of a call on the current GPU; nothing on a machine without one.

    Args:
        call: enqueues work on the current stream and waits for nothing.
        rounds: calls per measurement.

    Returns:
        "event_s": median between CUDA events around a call; "graph_s": one of many replays of a captured
        call, or the reason why it cannot be captured; "kernels_s": the kernels alone, by the profiler.
    """
    if not torch.cuda.is_available():
        return {}
    return {
        "event_s": event_seconds(call, rounds),
        "graph_s": graph_seconds(call, rounds),
        "kernels_s": kernel_seconds(call),
    }


def event_seconds(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median seconds between events before and after a call that the device was waiting for."""
    found = []
    for _ in range(rounds):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        call()
        after.record()
        torch.cuda.synchronize()
        found.append(before.elapsed_time(after) / 1e3)
    return statistics.median(found)


def graph_seconds(call: Callable[[], object], rounds: int = ROUNDS) -> float | str:
    """Seconds of one replay of the captured call, of ``rounds`` in a row; where it fails, why."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        # The outer context brings the stream back where a capture that fails leaves its own.
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
            kept = call()
    except RuntimeError as error:
        torch.cuda.synchronize()
        cause = error.__context__ or error  # the end of the capture fails too, and says less
        return f"not captured: {str(cause).splitlines()[0]}"
    graph.replay()
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    for _ in range(rounds):
        graph.replay()
    after.record()
    torch.cuda.synchronize()
    del kept
    return before.elapsed_time(after) / 1e3 / rounds


def kernel_seconds(call: Callable[[], object], rounds: int = 5) -> float:
    """Seconds that the kernels of a call run, without what lies between them."""
    call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as traced:
        for _ in range(rounds):
            call()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in traced.key_averages()) / 1e6 / rounds


def add_speedups(entries: Iterable[tuple[str, dict[str, Any]]], against: Iterable[str]) -> None:
    """Say in every entry how many times faster it is than the named routes of its group.

    Adds ``speedup_over_<route>``, by the wall ("median_s"), and ``graph_speedup_over_<route>``, a replay
    ("graph_s") against the other's fastest time; where the peak of memory was measured also
    ``memory_of_<route>``, how many times as much the other takes.

    Args:
        entries: group and extra figures of every benchmark; the figures hold "route" and some times.
        against: names of the routes to compare with.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for group, extra in entries:
        groups.setdefault(group, []).append(extra)
    for members in groups.values():
        for other in (extra for extra in members if extra.get("route") in against):
            for extra in (extra for extra in members if extra is not other):
                extra |= _compared(extra, other)


def _compared(extra: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """The ratios of an entry to another one, as far as both were measured."""
    found, name = {}, other["route"]
    if _is_time(extra.get("median_s")) and _is_time(other.get("median_s")):
        found[f"speedup_over_{name}"] = other["median_s"] / extra["median_s"]
    fastest = [other[key] for key in ("graph_s", "event_s", "median_s") if _is_time(other.get(key))]
    if _is_time(extra.get("graph_s")) and fastest:
        found[f"graph_speedup_over_{name}"] = min(fastest) / extra["graph_s"]
    if extra.get("peak_bytes") and other.get("peak_bytes"):
        found[f"memory_of_{name}"] = other["peak_bytes"] / extra["peak_bytes"]
    return found


def _is_time(value: object) -> bool:
    return isinstance(value, float) and value > 0
