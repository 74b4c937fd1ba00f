"""Rows divided into clusters by k-means."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bodvcl.errors import ConfigError
from bodvcl.search.space import Space

FULL = 20_000
"""Up to so many rows, every step of k-means sees all of them; above, it sees batches."""


class Clusters(NamedTuple):
    """A division of the rows.

    Attributes:
        of: int64 ``(rows,)``, number of the cluster; 0 is the largest.
        distance: float32 ``(rows,)``, Euclidean distance of the row's unit vector to the centre.
    """

    of: NDArray[np.int64]
    distance: NDArray[np.float32]

    def central(self, cluster: int, count: int) -> NDArray[np.int64]:
        """Rows of a cluster that are nearest to its centre."""
        rows = np.flatnonzero(self.of == cluster)
        return rows[np.argsort(self.distance[rows], kind="stable")[:count]]


def k_means(space: Space, motion: float, count: int, seed: int = 0) -> Clusters:
    """Clusters of the rows.

    Args:
        space: the rows.
        motion: weight of motion in [0, 1].
        count: number of clusters.
        seed: of the first centres.

    Raises:
        ConfigError: fewer different rows than clusters.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    joint = space.joint(motion)
    different = len(np.unique(joint, axis=0)) if len(joint) <= FULL else len(joint)
    if count > different:
        raise ConfigError(
            f"--clusters {count}: the file has {different:,} different rows; give a smaller number"
        )
    if len(joint) <= FULL:
        made = KMeans(count, n_init=4, random_state=seed).fit(joint)
    else:
        made = MiniBatchKMeans(count, n_init=3, batch_size=4096, random_state=seed).fit(joint)
    sizes = np.bincount(made.labels_, minlength=count)
    order = np.argsort(-sizes, kind="stable")
    distance = np.linalg.norm(joint - made.cluster_centers_[made.labels_], axis=1)
    return Clusters(np.argsort(order)[made.labels_], distance.astype(np.float32))
