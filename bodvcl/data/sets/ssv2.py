"""Something-Something v2: 174 templates of hands doing something with something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bodvcl.data.sets.layout import Layout
from bodvcl.data.sets.rows import DataSet, DatasetRows, VideoRow

_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def _read(root: Path, fold: int) -> DatasetRows:
    """The label is the template without its brackets; classes have the numbers of labels.json.

    Test videos have labels only if test-answers.csv exists.
    """
    del fold
    layout = Layout(root, SSV2.title, SSV2.layout)
    videos = layout.videos(layout.folder("20bn-something-something-v2", "videos"))

    def places(name: str) -> tuple[str, ...]:
        old = f"something-something-v2-{name}"
        return (f"labels/{name}", f"annotations/{old}", f"labels/{old}", old)

    table = layout.file(*places("labels.json"))
    try:
        numbers = {name: int(number) for name, number in layout.json(table).items()}
    except (AttributeError, TypeError, ValueError):
        raise layout.broken(table, "its content", '{"<template>": "<number>", ...}') from None
    answers = layout.find(*places("test-answers.csv"))
    told = dict(line.split(";", 1) for line in layout.lines(answers) if ";" in line) if answers else {}
    rows, missing = [], []
    for split, name in _SPLITS.items():
        path = layout.file(*places(f"{name}.json"))
        for item in layout.items(path):
            number, template = _item(item)
            label = template if split != "test" else told.get(number or "", "")
            if number is None or (label and label not in numbers) or (split != "test" and not label):
                raise layout.broken(
                    path, str(item), '{"id": "1", "template": "Moving [something] down", ...}'
                )
            file = videos.get(number)
            if file is None:
                missing.append(f"{number}.webm")
            else:
                rows.append(VideoRow(file, split, {"label": label} if label else {}))
    classes = tuple(sorted(numbers, key=numbers.__getitem__))
    return DatasetRows(
        SSV2.name, str(root), rows, {"label": classes}, missing, layout.annotations,
        unreadable=layout.unreadable,
    )  # fmt: skip


def _item(item: Any) -> tuple[str | None, str]:
    if not isinstance(item, dict) or "id" not in item:
        return None, ""
    return str(item["id"]), str(item.get("template", "")).replace("[", "").replace("]", "")


SSV2 = DataSet(
    "ssv2",
    "Something-Something v2",
    "20bn-something-something-v2/<id>.webm and labels/{labels,train,validation,test}.json "
    "(or something-something-v2-{labels,train,validation,test}.json)",
    _read,
)
