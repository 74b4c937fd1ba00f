"""Small labelled videos and the options of a run on them that takes a second or two."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from csv_lists import write_list

from bodvcl.config.schema import ShapesConfig
from bodvcl.data.sets import BuiltInSettings, open_dataset

sys.path.append(str(Path(__file__).parents[1] / "data"))  # its makers of videos and layouts

SMALL = [
    "--device", "cpu", "--workers", "0", "--precision", "fp32", "--clip.frames", "4", "--clip.size", "16",
    "--batch-size", "4", "--epochs", "2", "--test.clips", "2", "--test.crops", "1", "--log.every", "1",
]  # fmt: skip
SCRATCH = ["--checkpoint", "scratch", "--width", "4", *SMALL]


@pytest.fixture(scope="session")
def shape_rows(shapes_cache) -> list[dict[str, str]]:
    """48 videos with the label shape: 24 train, 8 validate, 16 test."""
    made = ShapesConfig(cache=shapes_cache / "finetune", train_videos=8, probe_videos=48, frames=20, size=32)
    rows = open_dataset("shapes", BuiltInSettings(shapes=made), workers=1, progress=False).rows
    rows = [row for row in rows if row.split.startswith("probe")]
    splits = ["train"] * 24 + ["val"] * 8 + ["test"] * 16
    return [
        {"path": str(row.path), "shape": row.labels["shape"], "split": split}
        for row, split in zip(rows, splits, strict=True)
    ]


@pytest.fixture(scope="session")
def shape_list(shape_rows, tmp_path_factory) -> Path:
    return write_list(tmp_path_factory.mktemp("lists") / "shapes.csv", shape_rows)


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Options of a small run, without what it starts from and its data."""
    return list(SMALL)


@pytest.fixture(scope="session")
def small_scratch() -> list[str]:
    """Options of a small run from scratch, without its data."""
    return list(SCRATCH)
