"""The figures on a CUDA device: the maps of Grad-CAM are those of the CPU."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from bodvcl.cli.main import main

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def numbers(runs: list[Path], out: Path, device: str) -> dict[str, list[float]]:
    """The numbers of every table of the figures."""
    options = ["--device", device, "--workers", "0", "--clips-per-video", "1", "--videos", "6", "--no-cache"]
    chosen = ["--figures", "cam", "distinctiveness", "eigenvalues"]
    assert main(["figures", *map(str, runs), *chosen, *options, "--out", str(out)]) == 0
    found = {}
    for path in sorted(out.glob("*.csv")):
        with open(path, newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        found[path.name] = [float(cell) for cell in cells if cell.lstrip("-").replace(".", "", 1).isdigit()]
    return found


def test_the_numbers_are_those_of_the_cpu(kept_runs, tmp_path):
    want, got = (numbers(kept_runs, tmp_path / device, device) for device in ("cpu", DEVICE))
    assert want.keys() == got.keys()
    assert any(want.values())
    for name, values in want.items():
        assert got[name] == pytest.approx(values, rel=0.02, abs=0.02), name
