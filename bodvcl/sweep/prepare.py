"""Open the training videos of many runs once: built-in data are rendered before the runs start."""

from __future__ import annotations

from collections.abc import Iterable

from bodvcl.config.schema import TrainConfig
from bodvcl.data.sets import BuiltInSettings, open_dataset


def prepare_data(configs: Iterable[TrainConfig]) -> None:
    """Open the data of each configuration; the same data are opened once.

    Raises:
        DataError: there are none, or they cannot be read.
    """
    seen = []
    for config in configs:
        wanted = (config.data, BuiltInSettings.of(config))
        if wanted not in seen:
            seen.append(wanted)
            open_dataset(*wanted, workers=config.workers)
