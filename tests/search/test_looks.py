"""Appearance and motion are compared apart from each other."""

from __future__ import annotations

import numpy as np

from bodvcl.search.looks import Looks


def shared(units: np.ndarray, classes: np.ndarray) -> float:
    """Share of the 30 nearest rows that have the class of the row."""
    scores = units @ units.T
    np.fill_diagonal(scores, -2)
    return float(np.mean(classes[np.argsort(-scores, 1)[:, :30]] == classes[:, None]))


def test_motion_is_what_appearance_does_not_predict() -> None:
    """The dynamic vectors are a weak movement over a strong trace of the look, as in a network."""
    rng = np.random.default_rng(0)
    look, move = rng.integers(6, size=400), rng.integers(5, size=400)
    still = np.eye(6)[look] @ rng.normal(size=(6, 16)) + 0.05 * rng.normal(size=(400, 16))
    trace = still @ rng.normal(size=(16, 16))
    dynamic = 30 + trace / trace.std() + 0.5 * np.eye(5)[move] @ rng.normal(size=(5, 16))
    vectors = {"still": (10 + still).astype(np.float32), "dynamic": dynamic.astype(np.float32)}
    units = Looks(vectors)(vectors)
    plain = (dynamic - dynamic.mean(0)) / dynamic.std(0)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    assert shared(units["appearance"], look) == 1
    assert shared(units["motion"], move) > 0.9
    assert shared(units["motion"], look) < 0.5 < 0.8 < shared(plain, look)
    assert shared(plain, move) < 0.7


def test_rows_of_few_videos_and_features_that_do_not_vary() -> None:
    rng = np.random.default_rng(0)
    still, dynamic = rng.normal(size=(2, 3, 8)).astype(np.float32)
    still[:, 0] = dynamic[:, 0] = 7  # as a unit that is always off
    units = Looks({"still": still, "dynamic": dynamic})({"still": still, "dynamic": dynamic})
    for part in units.values():
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1, rtol=1e-5)
    alone = Looks({"still": still[:1], "dynamic": dynamic[:1]})({"still": still[:1], "dynamic": dynamic[:1]})
    assert not any(part.any() for part in alone.values())
