"""Two processes over gloo fine-tune and test as one does."""

from __future__ import annotations

import csv
import json

import processes
import pytest
import torch

from bodvcl.cli.finetune import main
from bodvcl.engine.metrics import METRICS
from bodvcl.finetune.saved import CLASSIFIER
from bodvcl.runs.results import read_result


@pytest.mark.slow
def test_two_processes_tune_and_test_as_one(small_scratch, shape_list, tmp_path):
    options = [*small_scratch, "--data", str(shape_list), "--dropout", "0", "--run-dir"]
    ended = processes.finish(processes.start([*options, str(tmp_path / "two")], verb="finetune"))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert "top-1" in ended[0][1]
    assert ended[1][1] == ""
    assert main([*options, str(tmp_path / "one")]) == 0
    one, two = read_result(tmp_path / "one"), read_result(tmp_path / "two")
    assert (one.metrics, one.test, one.train) == (two.metrics, two.test, two.train)
    lines = [
        [json.loads(line) for line in (tmp_path / run / METRICS).read_text().splitlines()]
        for run in ("one", "two")
    ]
    for want, got in zip(*lines, strict=True):
        assert got["loss"] == pytest.approx(want["loss"], rel=1e-4)
        assert got.get("val_top1") == want.get("val_top1")
    tables = [
        list(csv.reader((tmp_path / run / "predictions.csv").read_text().splitlines()))
        for run in ("one", "two")
    ]
    for want, got in zip(*tables, strict=True):
        assert got[:3] == want[:3]
    weights = [torch.load(tmp_path / r / CLASSIFIER, weights_only=True)["network"] for r in ("one", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-5)
