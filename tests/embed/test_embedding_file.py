"""The file of embeddings comes back as it was written, for us and for other readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bodvcl.embed.file import KINDS, About, Embeddings, read_about, read_embeddings, write_embeddings
from bodvcl.errors import DataError


def made(rows: int = 5) -> Embeddings:
    rng = np.random.default_rng(0)
    widths = {"pooled": 8, "static": 3, "dynamic": 3, "still": 4}
    about = About("0", "/run", "ab", 7, "videos", "bod", None, 3, {"frames": 8}, ["gesture"], widths)
    return Embeddings(
        paths=[f"/videos/{row}.mp4" for row in range(rows)],
        video=np.arange(rows),
        start=np.zeros(rows),
        end=np.full(rows, 2.5),
        size=np.array([10] * (rows - 1) + [-1]),
        modified=np.full(rows, 12),
        labels={"gesture": ["wave"] * (rows - 1) + [None]},
        vectors={kind: rng.normal(size=(rows, width)).astype(np.float32) for kind, width in widths.items()},
        about=about,
    )


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = made()
    write_embeddings(tmp_path / "a.parquet", written)
    read = read_embeddings(tmp_path / "a.parquet")
    assert read.about == written.about
    assert list(read.paths) == list(written.paths)
    assert read.labels == written.labels
    for name in ("video", "start", "end", "size", "modified"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    for kind in KINDS:
        np.testing.assert_array_equal(read.vectors[kind], written.vectors[kind])


def test_pandas_reads_the_vectors(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.parquet", made())
    frame = pd.read_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(np.stack(frame["static"]), made().vectors["static"])
    assert frame["bytes"].isna().tolist() == [False] * 4 + [True]


def test_another_file_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "text").write_text("x")
    for name in ("other.parquet", "text", "missing"):
        with pytest.raises(DataError, match="bodvcl embed"):
            read_about(tmp_path / name)
    write_embeddings(tmp_path / "a.parquet", made())
    with pytest.raises(DataError, match="no frames vectors; it has pooled, static, dynamic, still"):
        read_embeddings(tmp_path / "a.parquet", ["frames"])
