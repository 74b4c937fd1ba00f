"""The linear probe whose class scores Grad-CAM explains: fitted in closed form on the labelled data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from bodvcl.data.files.video import VideoInfo
from bodvcl.errors import ConfigError, DataError
from bodvcl.evaluate.classifiers import fit_ridge
from bodvcl.evaluate.columns import LabelChoice
from bodvcl.evaluate.labels import class_name, halves
from bodvcl.evaluate.video_features import video_features
from bodvcl.figures.cam_question import ClassProbe
from bodvcl.figures.opened import OpenedRun
from bodvcl.figures.options import FigureOptions
from bodvcl.text.words import plain, suggestion


def class_probe(
    run: OpenedRun,
    videos: Sequence[VideoInfo],
    choice: LabelChoice,
    options: FigureOptions,
    device: torch.device,
    say: Callable[[str], None],
) -> ClassProbe:
    """Fit the ridge probe of the first label column on the training part of the data.

    Args:
        run: the run.
        videos: the videos that the choice was made from.
        choice: label columns and the division into a training and a test part.
        options: class, clips per video, cache, workers.
        device: where the encoder runs.
        say: takes lines for the user.

    Raises:
        ConfigError: the class that the user named does not exist.
        DataError: no video of the training part can be read, or only videos of one class.
    """
    column, values = first_column(choice)
    chosen = class_number(options.cam_class, column, values)
    trains = halves(values, options.seed) if choice.division.train is None else choice.division.train
    names = [class_name(value) for value in values]
    places = [place for place in np.flatnonzero(trains).tolist() if names[place] is not None]
    features = video_features(
        run.probed(),
        [videos[choice.division.rows[place]] for place in places],
        device,
        clips_per_video=options.clips_per_video,
        cache=options.feature_folder,
        workers=options.workers,
        say=say,
    )
    known = classes_of(values)
    numbers = np.array([known.index(str(names[places[row]])) for row in features.rows])
    present = np.unique(numbers)
    if len(present) < 2:
        raise DataError(
            f"label {plain(column)}: fewer than two classes have training videos that can be read"
        )
    if chosen is not None and chosen not in present:
        raise DataError(f"--cam-class {plain(known[chosen])}: no training video of this class can be read")
    probe = fit_ridge(features.kinds["backbone"].double().numpy(), np.searchsorted(present, numbers))
    place = None if chosen is None else int(np.searchsorted(present, chosen))
    return ClassProbe(probe, tuple(known[k] for k in present), place)


def first_column(choice: LabelChoice) -> tuple[str, list[str | None]]:
    """The label column whose classes are explained, and its values."""
    return next(iter(choice.labels.items()))


def classes_of(values: Sequence[str | None]) -> list[str]:
    """The names of the classes of a column, sorted."""
    return sorted({name for value in values if (name := class_name(value)) is not None})


def class_number(name: str | None, column: str, values: Sequence[str | None]) -> int | None:
    """Number of the class that the user named, among the sorted classes of the column; None: none was named.

    Raises:
        ConfigError: there is no such class.
    """
    if name is None:
        return None
    known = classes_of(values)
    if name not in known:
        raise ConfigError(
            f"--cam-class {plain(name)}: no such class of {plain(column)}{suggestion(name, known)}; "
            f"there are: {', '.join(map(plain, known[:20]))}{' ...' if len(known) > 20 else ''}"
        )
    return known.index(name)
