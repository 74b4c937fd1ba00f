"""Diving48 with version 2 of its labels (version 1 is wrong for many videos)."""

from __future__ import annotations

from pathlib import Path

from bodvcl.data.sets.layout import Layout
from bodvcl.data.sets.rows import DataSet, DatasetRows, VideoRow


def _read(root: Path, fold: int) -> DatasetRows:
    """A class is a dive: take-off, somersaults, twists and position, joined by spaces."""
    del fold
    layout = Layout(root, DIVING48.title, DIVING48.layout)
    videos = layout.videos(layout.folder("rgb", "videos"))

    def file(name: str) -> Path:
        return layout.file(name, f"annotations/{name}")

    vocabulary = file("Diving48_vocab.json")
    try:
        classes = tuple(" ".join(parts) for parts in layout.json(vocabulary))
    except TypeError:
        raise layout.broken(vocabulary, "its content", '[["Back", "15som", "05Twis", "FREE"], ...]') from None
    rows, missing = [], []
    for split in ("train", "test"):
        path = file(f"Diving48_V2_{split}.json")
        for item in layout.items(path):
            try:
                name, label = str(item["vid_name"]), classes[int(item["label"])]
            except (TypeError, KeyError, ValueError, IndexError):
                raise layout.broken(path, str(item), '{"vid_name": "...", "label": 0, ...}') from None
            if name in videos:
                rows.append(VideoRow(videos[name], split, {"label": label}))
            else:
                missing.append(f"{name}.mp4")
    return DatasetRows(
        DIVING48.name, str(root), rows, {"label": classes}, missing, layout.annotations,
        unreadable=layout.unreadable,
    )  # fmt: skip


DIVING48 = DataSet(
    "diving48",
    "Diving48 V2",
    "rgb/<video>.mp4, Diving48_V2_{train,test}.json and Diving48_vocab.json",
    _read,
)
