"""The file of embeddings comes back as it was written, for us and for other readers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from bodvcl.embed.file import (
    KINDS,
    About,
    Embeddings,
    read_about,
    read_embeddings,
    read_some,
    write_embeddings,
    write_rows,
)
from bodvcl.errors import ConfigError, DataError


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


def with_frames(rows: int = 5) -> Embeddings:
    plain = made(rows)
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(rows, 6, 4)).astype(np.float32)
    return replace(
        plain,
        vectors={**plain.vectors, "frames": frames},
        times=rng.random((rows, 6)),
        about=replace(plain.about, frames=[6, 4]),
    )


@pytest.mark.parametrize("name", ["a.parquet", "a.safetensors"])
def test_both_forms_hold_the_same_and_are_written_part_by_part(tmp_path: Path, name: str) -> None:
    written = with_frames(7)
    whole = tmp_path / "whole" / name
    whole.parent.mkdir()
    write_embeddings(whole, written)
    asked: list[int] = []

    def parts() -> Iterator[Embeddings]:
        for start in range(0, 7, 3):
            asked.append(start)
            yield taken(written, slice(start, start + 3))

    write_rows(tmp_path / name, written.about, 7, parts())
    assert asked == [0, 3, 6]
    read = read_embeddings(tmp_path / name, [*KINDS, "frames"])
    for other in (read, read_embeddings(whole, [*KINDS, "frames"])):
        assert other.about == written.about
        assert list(other.paths) == list(written.paths)
        assert other.labels == written.labels
        np.testing.assert_array_equal(other.size, written.size)
        np.testing.assert_array_equal(other.times, written.times)
        for kind, vectors in written.vectors.items():
            np.testing.assert_array_equal(other.vectors[kind], vectors)
    assert read_embeddings(tmp_path / name).times is None
    rows = np.array([6, 0, 3, 3])
    some = read_some(tmp_path / name, written.about, rows)
    np.testing.assert_array_equal(some["frames"], written.vectors["frames"][rows])
    np.testing.assert_array_equal(some["times"], written.times[rows])


def taken(embeddings: Embeddings, rows: slice) -> Embeddings:
    return replace(
        embeddings,
        paths=embeddings.paths[rows],
        labels={name: values[rows] for name, values in embeddings.labels.items()},
        vectors={kind: values[rows] for kind, values in embeddings.vectors.items()},
        times=embeddings.times[rows],
        **{name: getattr(embeddings, name)[rows] for name in ("video", "start", "end", "size", "modified")},
    )


def test_an_index_of_other_vectors_is_refused(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.safetensors", made())
    write_embeddings(tmp_path / "b.safetensors", made(6))
    (tmp_path / "b.index.parquet").replace(tmp_path / "a.index.parquet")
    with pytest.raises(DataError, match=r"a\.index\.parquet is not the index of a\.safetensors"):
        read_embeddings(tmp_path / "a.safetensors")
    with pytest.raises(DataError, match="keep both in one folder"):
        read_embeddings(tmp_path / "b.safetensors")
    (tmp_path / "text.safetensors").write_text("hello, this is no header")
    with pytest.raises(DataError, match="is not a file of bodvcl embed"):
        read_about(tmp_path / "text.safetensors")
    with pytest.raises(ConfigError, match=r"expected a name that ends in \.parquet or \.safetensors"):
        write_embeddings(tmp_path / "a.csv", made())


@pytest.mark.parametrize("name", ["a.parquet", "a.safetensors"])
def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, name: str) -> None:
    write_embeddings(tmp_path / name, made())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def parts() -> Iterator[Embeddings]:
        yield made(3)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_rows(tmp_path / name, made().about, 6, parts())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_hugging_face_and_safetensors_read_the_vectors(tmp_path: Path) -> None:
    written = with_frames()
    for name in ("a.parquet", "a.safetensors"):
        write_embeddings(tmp_path / name, written)
    rows = datasets.Dataset.from_parquet(str(tmp_path / "a.parquet"), cache_dir=str(tmp_path)).with_format(
        "numpy"
    )
    np.testing.assert_array_equal(np.stack(list(rows["dynamic"])), written.vectors["dynamic"])
    np.testing.assert_array_equal(np.stack(list(rows["frames"])), written.vectors["frames"])
    tensors = load_file(tmp_path / "a.safetensors")
    for kind, vectors in written.vectors.items():
        np.testing.assert_array_equal(tensors[kind], vectors)
    index = pd.read_parquet(tmp_path / "a.index.parquet")
    assert index.columns.tolist() == ["path", "video", "start", "end", "bytes", "modified", "gesture"]
