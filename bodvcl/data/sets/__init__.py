"""Data sets by name.

``shapes`` is a built-in data set, ``ucf101:/datasets/UCF101`` is UCF101 in its official layout,
``ucf101@2:/datasets/UCF101`` its second split; a folder or a .csv list is given by its path alone.
"""

from __future__ import annotations

from bodvcl.data.sets.built_in import BuiltInDataSet, BuiltInSettings
from bodvcl.data.sets.registry import DATA_SETS, built_in, open_dataset
from bodvcl.data.sets.rows import DataSet, DatasetRows, Segment, VideoRow

__all__ = [
    "DATA_SETS",
    "BuiltInDataSet",
    "BuiltInSettings",
    "DataSet",
    "DatasetRows",
    "Segment",
    "VideoRow",
    "built_in",
    "open_dataset",
]
