"""The rows of many tar files in one index: repeated videos are left out, splits get their names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bodvcl.data.files.repeats import Repeat, without_repeats
from bodvcl.data.files.tars.arrow import write_arrow
from bodvcl.data.files.tars.check import folder_of_index, read_result
from bodvcl.data.files.tars.rows import SCHEMA, video_of
from bodvcl.data.files.tars.table import FACTS, VideoTable
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets.split_names import canonical_split
from bodvcl.data.tars.names import TarFile
from bodvcl.errors import DataError

_FORMAT = 1  # raise it when the same results would give another index
_AT_ONCE = 2**16  # rows of a part of the file, at least
_BYTES = np.dtype("V16")


def gathered(tars: Sequence[TarFile], results: Sequence[Path]) -> VideoTable:
    """The usable videos of all tar files, each once per split. The index is made once and then only opened.

    Args:
        tars: the tar files.
        results: for each the file with its rows, from :func:`bodvcl.data.files.tars.check.check_tars`.

    Raises:
        DataError: the index cannot be written, or the tar files hold no usable video.
    """
    folder = folder_of_index()
    named = [[tar.url, tar.split, result.name] for tar, result in zip(tars, results)]
    facts = json.dumps([_FORMAT, named]).encode(errors="surrogateescape")
    file = folder / f"all-{hashlib.blake2b(facts, digest_size=16).hexdigest()}.arrow"
    if not file.exists():
        try:
            _gather(file, tars, results)
        except OSError as error:
            raise DataError(
                f"{folder}: the index of the videos cannot be written ({error.strerror or error}); free some "
                "room, or set BODVCL_INDEX to a file in another folder"
            ) from error
        except pa.ArrowInvalid as error:
            raise DataError(f"{folder}: a result of the scan is damaged; delete this folder") from error
    return VideoTable(file)


def repeats_of(table: VideoTable) -> list[Repeat]:
    """The videos that the tar files have more than once."""
    return [
        Repeat(r["path"], tuple(r["others"]), r["splits"], tuple(r["disputed"]))
        for r in table.facts["repeats"]
    ]


def _gather(file: Path, tars: Sequence[TarFile], results: Sequence[Path]) -> None:
    bad: list[tuple[str, str]] = []
    digests: list[NDArray[np.void]] = []
    classes: dict[str, set[str]] = {}
    for tar, result in zip(tars, results):
        table, faults = read_result(result)
        bad += [(f"{tar.url}/{name}", reason) for name, reason in faults]
        digests.append(np.frombuffer(b"".join(table["digest"].to_pylist()), _BYTES))
        labels = table["labels"].combine_chunks()
        for name, value in set(zip(labels.keys.to_pylist(), labels.items.to_pylist())):
            classes.setdefault(name, set()).update([value] if value else [])
    changes, repeats = _repeats(tars, results, np.concatenate(digests), [len(d) for d in digests])
    facts = {
        "urls": [tar.url for tar in tars],
        "sizes": [tar.size for tar in tars],
        "bad": bad,
        "repeats": [asdict(repeat) for repeat in repeats],
        "classes": {name: sorted(values) for name, values in classes.items()},
    }
    schema = SCHEMA.with_metadata({FACTS: json.dumps(facts)})
    write_arrow(file, schema, _batches(tars, results, changes))


def _repeats(
    tars: Sequence[TarFile], results: Sequence[Path], digests: NDArray[np.void], counts: Sequence[int]
) -> tuple[dict[int, VideoInfo | None], list[Repeat]]:
    """For each video with the bytes of another: what it becomes, or None where it is left out."""
    halves = digests.view(np.int64)[::2]
    order = np.argsort(halves, kind="stable")
    equal = halves[order][1:] == halves[order][:-1]
    rows = np.sort(order[np.append(equal, False) | np.append(False, equal)])
    if not len(rows):
        return {}, []
    ends = np.cumsum(counts)
    urls = [tar.url for tar in tars]
    videos: dict[int, VideoInfo] = {}
    for number in np.unique(np.searchsorted(ends, rows, side="right")).tolist():
        table, _ = read_result(results[number])
        start = int(ends[number]) - counts[number]
        for row in rows[(rows >= start) & (rows < ends[number])].tolist():
            (values,) = table.slice(row - start, 1).to_pylist()
            video = video_of({**values, "tar": number}, urls)
            videos[row] = replace(video, split=_split(video.split, tars[number]))
    first: dict[bytes, str] = {}
    firsts = {v.path: first.setdefault(digests[row].tobytes(), v.path) for row, v in videos.items()}
    kept, repeats = without_repeats([*videos.values()], firsts)
    by_path = {video.path: video for video in kept}
    return {row: by_path.get(video.path) for row, video in videos.items()}, repeats


def _batches(
    tars: Sequence[TarFile], results: Sequence[Path], changes: Mapping[int, VideoInfo | None]
) -> Iterator[pa.RecordBatch]:
    """The rows of all tar files in parts."""
    waiting: list[pa.Table] = []
    start = 0
    for number, (tar, result) in enumerate(zip(tars, results)):
        table, _ = read_result(result)
        splits = [_split(split, tar) for split in table["split"].to_pylist()]
        rows = _replaced(table, {"tar": [number] * len(table), "split": splits})
        own = {row - start: changes[row] for row in range(start, start + len(table)) if row in changes}
        waiting.append(_changed(rows, own) if own else rows)
        start += len(table)
        if sum(map(len, waiting)) >= _AT_ONCE or number == len(tars) - 1:
            yield from pa.concat_tables(waiting).combine_chunks().to_batches()
            waiting = []


def _changed(table: pa.Table, changes: Mapping[int, VideoInfo | None]) -> pa.Table:
    """The rows with other contents and labels; those that become None are left out."""
    labels: list[Any] = table["labels"].to_pylist()
    content: list[str] = table["content"].to_pylist()
    kept = np.ones(len(table), bool)
    for row, video in changes.items():
        kept[row] = video is not None
        if video is not None:
            labels[row], content[row] = list(video.labels.items()), video.content
    return _replaced(table, {"labels": labels, "content": content}).filter(pa.array(kept))


def _replaced(table: pa.Table, columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """The table with other columns, and without metadata."""
    for name, values in columns.items():
        field = SCHEMA.field(name)
        column = pa.array(values, field.type)
        table = table.set_column(table.schema.get_field_index(name), field, column)
    return table.replace_schema_metadata(None)


def _split(told: str, tar: TarFile) -> str:
    return canonical_split(told) or tar.split
