"""Action detection on a CUDA device: the first loss is that of the CPU, and the test ends in a number."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from detect.test_detect_verb import small

from bodvcl.cli.detect import main
from bodvcl.runs.results import read_result

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def losses(ava_folder: Path, run: Path, device: str, *more: str) -> list[float]:
    options = small(ava_folder, "--run-dir", str(run), "--dropout", "0", *more)
    options[options.index("--device") + 1] = device
    assert main(options) == 0
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 3e-2), ("fp16", 3e-2)])
def test_the_first_loss_is_that_of_the_cpu(precision, tolerance, ava_folder, tmp_path):
    want = losses(ava_folder, tmp_path / "cpu", "cpu", "--precision", "fp32")
    got = losses(ava_folder, tmp_path / "gpu", DEVICE, "--precision", precision)
    assert got[0] == pytest.approx(want[0], rel=tolerance)
    assert all(map(math.isfinite, got))
    assert math.isfinite(read_result(tmp_path / "gpu").metrics["mAP"])
