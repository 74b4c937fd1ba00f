"""The result of an evaluation survives its file, and a broken file is one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bodvcl.errors import DataError
from bodvcl.runs.results import RESULTS, Result, read_result


def _result() -> Result:
    return Result(
        kind="finetune",
        data="ucf101@1:/data",
        checkpoint="runs/a",
        protocol={"frames": 8, "clips": 10, "crops": 3, "tuned": "all"},
        metrics={"top1": 0.9, "top5": 0.99},
        train=9537,
        test=3783,
        seed=0,
        seconds=12.5,
        method="simclr + BOD-VCL",
        backbone="slow_r50",
    )


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    _result().save(tmp_path)
    assert read_result(tmp_path) == _result()


def test_a_value_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Result("linear", "d", None, {}, {"top1": float("nan")}, 1, 1, 0, 1.0).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"metrics": {}}, {"metrics": {"top1": "high"}}, {"colour": "red"}, {"metrics": None}],
)
def test_a_broken_file_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    _result().save(tmp_path)
    content = json.loads((tmp_path / RESULTS).read_text())
    (tmp_path / RESULTS).write_text(json.dumps(content | change))
    with pytest.raises(DataError, match=r"results\.json cannot be read"):
        read_result(tmp_path)


def test_a_run_without_a_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the evaluation has not finished there"):
        read_result(tmp_path)
