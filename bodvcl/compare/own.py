"""Labelled videos of the user's own, as the comparison takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bodvcl.config.schema import BUILT_IN
from bodvcl.data.sets import open_dataset
from bodvcl.data.sets.folders import CLASS_FOLDERS
from bodvcl.errors import ConfigError, DataError

_WHERE = (
    "the comparison reads labels from frozen features: give a folder per class, a .csv list with label "
    "columns, or a labelled data set by name, such as ucf101:FOLDER"
)


@dataclass(frozen=True)
class OwnVideos:
    """Labelled videos, and the recipe of every training on them.

    Attributes:
        data: what ``--data`` of every training gets.
        recipe: file of the recipe.
    """

    data: str
    recipe: Path

    @property
    def name(self) -> str:
        """What tables call them: the last part of the path, without the name of the layout."""
        place = Path(self.data.rpartition(":")[2])
        return place.name or place.resolve().name


def own_data(data: Sequence[str]) -> str | None:
    """The user's own videos among the data of a comparison, as one specification with labels.

    A folder of folders becomes ``class-folders:FOLDER``. Tar files are not opened here.

    Returns:
        The specification. None: all data are built in.

    Raises:
        ConfigError: own videos beside other data.
        DataError: they are not there, or have no labels.
    """
    own = [spec for spec in data if spec not in BUILT_IN]
    if not own:
        return None
    if len(data) > 1:
        raise ConfigError(f"--data {own[0]}: videos of your own are compared alone; give one data set")
    (spec,) = own
    found = open_dataset(spec)
    if found.tars or any(row.labels for row in found.rows):
        return spec
    if Path(spec).expanduser().is_dir() and found.rows:
        by_class = f"{CLASS_FOLDERS.name}:{spec}"
        try:
            if any(row.labels for row in open_dataset(by_class).rows):
                return by_class
        except DataError as error:
            raise DataError(f"{spec}: no video has a label ({error}); {_WHERE}") from error
    raise DataError(f"{spec}: no video has a label; {_WHERE}")
