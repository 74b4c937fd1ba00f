"""The data sets that come with the package. Their videos are rendered at the first use and then kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bodvcl.config.schema import DigitsConfig, ScenesConfig, ShapesConfig, TrainConfig
from bodvcl.data.made import digits, scenes, shapes
from bodvcl.data.sets.csv_list import read_csv_list
from bodvcl.data.sets.rows import DatasetRows

Kind = Literal["static", "dynamic"]


@dataclass(frozen=True)
class BuiltInSettings:
    """Settings of all built-in data sets; each uses its own."""

    shapes: ShapesConfig = field(default_factory=ShapesConfig)
    digits: DigitsConfig = field(default_factory=DigitsConfig)
    scenes: ScenesConfig = field(default_factory=ScenesConfig)

    @classmethod
    def of(cls, config: TrainConfig) -> BuiltInSettings:
        """Those of a run."""
        return cls(config.shapes, config.digits, config.scenes)


@dataclass(frozen=True)
class BuiltInDataSet:
    """A data set that is rendered instead of read from a folder.

    Attributes:
        name: the whole specification.
        title: what it shows.
        kinds: label column to the kind of semantic that it is.
        prepare: (settings, number of processes or None for one per core, whether to show a progress bar) to
            the .csv list of the rendered videos.
    """

    name: str
    title: str
    kinds: Mapping[str, Kind]
    prepare: Callable[[BuiltInSettings, int | None, bool], Path]

    def read(self, settings: BuiltInSettings, workers: int | None, progress: bool) -> DatasetRows:
        """Rows of the videos; they are rendered unless they are there from an earlier use.

        Raises:
            DataError: the videos cannot be written.
        """
        return replace(read_csv_list(self.prepare(settings, workers, progress)), name=self.name)


def _shapes(settings: BuiltInSettings, workers: int | None, progress: bool) -> Path:
    return shapes.prepare(settings.shapes, workers=workers, progress=progress)


def _digits(settings: BuiltInSettings, workers: int | None, progress: bool) -> Path:
    return digits.prepare(settings.digits, workers=workers, progress=progress)


def _scenes(settings: BuiltInSettings, workers: int | None, progress: bool) -> Path:
    return scenes.prepare(settings.scenes, workers=workers, progress=progress)


SHAPES = BuiltInDataSet(
    "shapes",
    "moving shapes",
    {"background": "static", "shape": "static", "brightness": "dynamic", "trajectory": "dynamic"},
    _shapes,
)
DIGITS = BuiltInDataSet("digits", "moving digits", {"digit": "static", "trajectory": "dynamic"}, _digits)
SCENES = BuiltInDataSet(
    "scenes",
    "moving figures on scenes of their own",
    {"scene": "static", "digit": "static", "shape": "static", "trajectory": "dynamic"},
    _scenes,
)
