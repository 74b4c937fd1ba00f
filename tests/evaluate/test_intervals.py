"""Bootstrap intervals against binomial quantiles, and where the plain bootstrap has no width."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from bodvcl.evaluate.intervals import bootstrap_interval, gain_interval, hit_interval


def hits(right: int, total: int) -> np.ndarray:
    return np.arange(total) < right


@pytest.mark.parametrize(("right", "total"), [(81, 263), (500, 1000), (3, 40)])
def test_a_share_has_the_quantiles_of_the_binomial_distribution(right: int, total: int) -> None:
    share, trials = (right + 1) / (total + 2), total + 2
    expected = [binom.ppf(q, trials, share) / trials for q in (0.025, 0.975)]
    assert hit_interval(hits(right, total)) == pytest.approx(expected, abs=1.5 / trials)


def test_all_right_is_not_certain() -> None:
    low, high = hit_interval(hits(20, 20))
    assert 0.75 < low < 0.95
    assert high == 1.0
    low, high = hit_interval(hits(0, 20))
    assert low == 0.0
    assert 0.05 < high < 0.25
    assert hit_interval(hits(0, 0)) == (0.0, 1.0)


def test_more_videos_make_a_narrower_interval() -> None:
    widths = [np.diff(hit_interval(hits(n // 2, n)))[0] for n in (20, 200, 2000)]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_a_gain_is_paired() -> None:
    before, after = hits(500, 1000), hits(550, 1000)
    low, high = gain_interval(before, after)
    gained, lost, trials = 51, 1, 1002
    centre = (gained - lost) / trials
    half = 1.96 * math.sqrt((gained + lost) / trials - centre**2) / math.sqrt(trials)
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=2e-3)
    shuffled = np.random.default_rng(0).permutation(after)
    wide = gain_interval(before, shuffled)
    assert wide[1] - wide[0] > 2 * (high - low)


def test_no_gain_still_has_a_width() -> None:
    same = hits(7, 30)
    low, high = gain_interval(same, same)
    assert low < 0 < high


def test_the_interval_is_a_function_of_the_seed() -> None:
    values = hits(30, 70)
    assert bootstrap_interval(values, (0, 1), 1) == bootstrap_interval(values, (0, 1), 1)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="3 and 4 test videos"):
        gain_interval(hits(1, 3), hits(1, 4))


def test_coverage_of_the_interval() -> None:
    rng = np.random.default_rng(0)
    truth, covered = 0.8, 0
    for _ in range(200):
        low, high = hit_interval(rng.random(60) < truth)
        covered += low <= truth <= high
    assert covered >= 180
