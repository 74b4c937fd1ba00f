"""Fine-tuning on a CUDA device: in every precision, next to the CPU's, and continued."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from bodvcl.cli.finetune import main
from bodvcl.runs.results import read_result

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def tuned(options: list[str], shape_list: Path, run: Path, device: str, *more: str) -> list[float]:
    """The losses of a run."""
    options = [*options, "--data", str(shape_list), "--run-dir", str(run), *more]
    options[options.index("--device") + 1] = device
    assert main(options) == 0
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 3e-2), ("fp16", 3e-2)])
@pytest.mark.parametrize("part", ["all", "head"])
def test_the_first_loss_is_that_of_the_cpu(part, precision, tolerance, small_scratch, shape_list, tmp_path):
    without_draws = ["--dropout", "0", "--tune", part, "--augment.jitter", "0"]
    want = tuned(small_scratch, shape_list, tmp_path / "cpu", "cpu", *without_draws)
    got = tuned(small_scratch, shape_list, tmp_path / "gpu", DEVICE, *without_draws, "--precision", precision)
    assert len(got) == len(want)
    assert got[0] == pytest.approx(want[0], rel=tolerance)
    assert all(map(math.isfinite, got))
    assert read_result(tmp_path / "gpu").test == read_result(tmp_path / "cpu").test
