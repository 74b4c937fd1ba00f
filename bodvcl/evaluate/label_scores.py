"""From features of videos to the scores of their label columns: what every probe ends with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bodvcl.evaluate.columns import LabelChoice
from bodvcl.evaluate.features import VideoFeatures
from bodvcl.evaluate.names import Probe
from bodvcl.evaluate.probe import probe_videos
from bodvcl.evaluate.score import Score, left_out_scores


def score_labels(
    features: VideoFeatures,
    choice: LabelChoice,
    kinds: Sequence[str],
    probes: Sequence[Probe],
    *,
    seed: int,
    k: int = 200,
    temperature: float = 0.07,
    separator: str | None = None,
) -> list[Score]:
    """Probe the label columns that were chosen.

    Args:
        features: ``features.rows`` are numbers in the list of videos that the choice was made from. Videos
            outside the division do not take part, and neither do videos without features.
        choice: label columns and the division into a training and a test part.
        kinds: kinds of features to probe.
        probes: probes to run; the first one also names the columns that are left out.
        seed: seed of drawn halves and of ``sgd``.
        k: neighbours of ``knn``.
        temperature: temperature of ``knn``.
        separator: text between several classes of a label; None: a label is one class.

    Returns:
        Scores of the chosen columns, then one without a result for each column that is left out.
    """
    _, places, rows = np.intersect1d(
        features.rows, choice.division.rows, assume_unique=True, return_indices=True
    )
    train = choice.division.train
    scores = probe_videos(
        {kind: features.kinds[kind][places] for kind in kinds},
        {name: [column[row] for row in rows.tolist()] for name, column in choice.labels.items()},
        None if train is None else train[rows],
        seed,
        probes=probes,
        k=k,
        temperature=temperature,
        separator=separator,
    )
    return scores + left_out_scores(kinds, choice.left_out, probes[0])
