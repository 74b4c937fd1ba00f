"""Ratios and rooflines of the benchmarks, which are all that a reader compares."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.ceilings import copy_bandwidth, product_rate, roofline
from bench.timing import add_speedups, gpu_times

ROOT = Path(__file__).parents[2]


def test_speedups_are_of_one_group_and_of_one_measure():
    ours = {"route": "native", "median_s": 2.0, "event_s": 1.5, "graph_s": 0.5}
    eager = {"route": "torch", "median_s": 6.0, "graph_s": 4.0}
    paper = {"route": "paper", "median_s": 20.0, "event_s": 19.0, "graph_s": "not captured: it waits"}
    other = {"route": "native", "median_s": 1.0}
    add_speedups([("a", ours), ("a", eager), ("a", paper), ("b", other)], ["torch", "paper"])
    assert (ours["speedup_over_torch"], ours["graph_speedup_over_torch"]) == (3.0, 8.0)
    assert (ours["speedup_over_paper"], ours["graph_speedup_over_paper"]) == (10.0, 38.0)
    assert paper["speedup_over_torch"] == pytest.approx(0.3)
    assert "graph_speedup_over_torch" not in paper
    assert not any("speedup" in key for key in other)
    assert "speedup_over_torch" not in eager


def test_memory_is_compared_where_it_was_measured():
    ours, eager = {"route": "triton", "peak_bytes": 10}, {"route": "eager", "peak_bytes": 250}
    add_speedups([("a", ours), ("a", eager)], ["eager"])
    assert ours["memory_of_eager"] == 25


def test_what_was_not_measured_has_no_ratio():
    ours, other = {"route": "native", "graph_s": 1.0}, {"route": "torch"}
    add_speedups([("a", ours), ("a", other)], ["torch"])
    assert not any("speedup" in key for key in ours)


def test_the_roofline_is_the_larger_of_both():
    assert roofline(moved=10, operations=1, bandwidth=2, rate=1) == 5
    assert roofline(moved=1, operations=12, bandwidth=2, rate=3) == 4


def test_ceilings_of_a_cpu_are_plausible():
    device = torch.device("cpu")
    assert 1e8 < copy_bandwidth(device) < 1e13
    assert 1e8 < product_rate(device, "fp32") < 1e15


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_are_no_device_times():
    assert gpu_times(lambda: 1 / 0) == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_times_of_a_product_on_a_gpu_agree():
    """Events, replays and kernels see the same product, which takes far longer than a launch."""
    a = torch.randn(4096, 4096, device="cuda")
    found = gpu_times(lambda: a @ a)
    assert found["graph_s"] == pytest.approx(found["event_s"], rel=0.3)
    assert found["kernels_s"] == pytest.approx(found["event_s"], rel=0.3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_what_cannot_be_captured_says_why():
    a = torch.randn(8, device="cuda")
    assert "not captured" in gpu_times(lambda: a.sum().item())["graph_s"]


def test_a_wrong_kernel_is_not_timed(tmp_path):
    """The benchmark of a route that computes something else fails, and leaves no time."""
    program = tmp_path / "test_wrong.py"
    program.write_text(
        "import sys\n"
        f"sys.path[:0] = [{str(ROOT / 'bench')!r}]\n"
        "import test_koopman as bench\n"
        "right = bench.route\n"
        "def wrong(name, settings):\n"
        "    run = right(name, settings)\n"
        "    return (lambda x: tuple(1.01 * y for y in run(x))) if name == 'native' else run\n"
        "bench.route = wrong\n"
        "bench.NATIVE = True\n"
        "def test_wrong(benchmark):\n"
        "    bench.test_koopman(benchmark, 'native', 'default', True, 4, 16, 8)\n"
    )
    out = tmp_path / "out.json"
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        str(program),
        f"--benchmark-json={out}",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "eager float32" in done.stdout
    assert not out.exists() or not out.read_text() or json.loads(out.read_text())["benchmarks"] == []
