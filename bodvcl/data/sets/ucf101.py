"""UCF101: 101 actions, three official splits."""

from __future__ import annotations

from pathlib import Path

from bodvcl.data.sets.layout import Layout
from bodvcl.data.sets.rows import DataSet, DatasetRows, VideoRow


def _read(root: Path, fold: int) -> DatasetRows:
    """The official class order is that of the numbers in classInd.txt, not the alphabetical order."""
    layout = Layout(root, UCF101.title, UCF101.layout)
    lists = layout.folder("ucfTrainTestlist", "annotations").name
    videos = layout.videos(layout.folder("UCF-101", "videos"))
    index = layout.file(f"{lists}/classInd.txt")
    numbered: dict[int, str] = {}
    for line in layout.lines(index):
        number, _, name = line.partition(" ")
        if not number.isdigit() or not name:
            raise layout.broken(index, line, "lines such as `1 ApplyEyeMakeup`")
        numbered[int(number)] = name.strip()
    rows, missing = [], []
    for split in ("train", "test"):
        path = layout.file(f"{lists}/{split}list{fold:02d}.txt")
        for line in layout.lines(path):
            name, _, number = line.partition(" ")
            label = name.partition("/")[0]
            if label not in numbered.values() or (
                split == "train" and numbered.get(_number(number)) != label
            ):
                raise layout.broken(
                    path, line, "`Class/video.avi 1` with the class and number of classInd.txt"
                )
            file = videos.get(Path(name).stem)
            if file is None:
                missing.append(name)
            else:
                rows.append(VideoRow(file, split, {"label": label}))
    classes = tuple(numbered[number] for number in sorted(numbered))
    return DatasetRows(
        "ucf101", str(root), rows, {"label": classes}, missing, layout.annotations,
        unreadable=layout.unreadable,
    )  # fmt: skip


def _number(text: str) -> int:
    return int(text) if text.isdigit() else -1


UCF101 = DataSet(
    "ucf101",
    "UCF101",
    "UCF-101/<Class>/v_<Class>_gXX_cYY.avi and ucfTrainTestlist/{classInd,trainlist01,testlist01}.txt",
    _read,
    folds=3,
)
