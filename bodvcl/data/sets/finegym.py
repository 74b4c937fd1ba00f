"""FineGym: elements of gymnastics, 99 balanced or 288 long-tailed classes, cut out of whole competitions."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from bodvcl.data.sets.layout import Layout
from bodvcl.data.sets.rows import DataSet, DatasetRows, Segment, VideoRow
from bodvcl.errors import DataError

_ELEMENT = re.compile(r"(?P<video>.+)_(?P<event>E_\d+_\d+)_(?P<action>A_\d+_\d+)")
_CATEGORY = re.compile(r"Clabel:\s*(\d+)\s*;.*?;\s*Glabel:\s*\d+\s*;\s*(.+)")


def _read(entry_name: str, root: Path, fold: int) -> DatasetRows:
    """Elements that have been cut out are used as they are; others are segments of whole videos.

    Times of elements count from the start of their event, times of events from the start of the video.
    Classes have the names in <name>_categories.txt if it exists, else their numbers.
    """
    del fold
    entry = FINEGYM[entry_name]
    layout = Layout(root, entry.title, entry.layout)
    cut, whole = layout.videos(root / "subactions"), layout.videos(root / "videos")
    if not cut and not whole:
        raise layout.lacks("subactions/<element>.mp4 or videos/<id>.mp4")
    names = _categories(layout, entry_name)
    times: Any = None
    rows, missing, numbers = [], [], set(names)
    for split in ("train", "val"):
        stem = f"{entry_name}_{split}_element"
        path = layout.file(*(f"{place}{stem}{version}.txt" for place in ("annotations/", "")
                             for version in ("_v1.1", "", "_v1.0")))  # fmt: skip
        for line in layout.lines(path):
            element, _, number = line.partition(" ")
            match = _ELEMENT.fullmatch(element)
            if match is None or not number.isdigit():
                raise layout.broken(path, line, "`<id>_E_<start>_<end>_A_<start>_<end> <class>`")
            numbers.add(int(number))
            label = {"label": names.get(int(number), number)}
            if element in cut:
                rows.append(VideoRow(cut[element], split, label))
            elif match["video"] in whole:
                times = times if times is not None else _annotation(layout)
                segment = _segment(layout, times, match)
                rows.append(VideoRow(whole[match["video"]], split, label, segment))
            else:
                missing.append(f"{element}.mp4")
    classes = tuple(names.get(number, str(number)) for number in range(max(numbers, default=-1) + 1))
    return DatasetRows(
        entry_name, str(root), rows, {"label": classes}, missing, layout.annotations,
        unreadable=layout.unreadable,
    )  # fmt: skip


def _categories(layout: Layout, name: str) -> dict[int, str]:
    path = layout.find(f"annotations/{name}_categories.txt", f"{name}_categories.txt")
    if path is None:
        return {}
    names = {}
    for line in layout.lines(path):
        match = _CATEGORY.fullmatch(line)
        if match is None:
            raise layout.broken(path, line, "`Clabel: 0; set: 0; Glabel: 0; (VT) name`")
        names[int(match[1])] = match[2].strip()
    if len(set(names.values())) < len(names):
        names = {number: f"{number}: {text}" for number, text in names.items()}
    return names


def _annotation(layout: Layout) -> Any:
    stem = "finegym_annotation_info_v1"
    return layout.json(layout.file(*(f"{place}{stem}{version}.json" for place in ("annotations/", "")
                                     for version in (".1", ".0"))))  # fmt: skip


def _segment(layout: Layout, times: Any, match: re.Match[str]) -> Segment:
    try:
        event = times[match["video"]][match["event"]]
        origin = float(event["timestamps"][0][0])
        stages = event["segments"][match["action"]]["timestamps"]
        start, end = origin + float(stages[0][0]), origin + float(stages[-1][1])
    except (KeyError, TypeError, IndexError, ValueError):
        raise DataError(
            f"{layout.root}: {match[0]} has no times in the FineGym annotation; expected {{'<id>': "
            "{'<event>': {'timestamps': [[s, e]], 'segments': {'<element>': {'timestamps': [[s, e]]}}}}}"
        ) from None
    return Segment(start, end, f"subactions/{match[0]}.mp4")


def _entry(classes: int) -> DataSet:
    name = f"gym{classes}"
    return DataSet(
        name,
        f"FineGym (Gym{classes})",
        "subactions/<element>.mp4 (or videos/<id>.mp4 and annotations/finegym_annotation_info_v1.1.json) and "
        f"annotations/{name}_{{train_element_v1.1,val_element}}.txt",
        partial(_read, name),
    )


FINEGYM: dict[str, DataSet] = {entry.name: entry for entry in map(_entry, (99, 288))}
