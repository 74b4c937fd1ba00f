"""The learning rate over a run."""

from __future__ import annotations

import itertools
import math

import pytest

from bodvcl.config.schema import OptimConfig
from bodvcl.optim.schedule import batch_factor, learning_rate, rising_steps


def test_schedule_rises_then_falls_as_a_cosine_to_zero():
    rates = [learning_rate(s, 100, 2.0, 10) for s in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert learning_rate(0, 10, 1.0, 0) == 1.0


def test_the_rise_starts_where_it_is_told():
    rates = [learning_rate(s, 100, 2.0, 10, start=1.0) for s in range(10)]
    assert rates[0] == pytest.approx(1.1)
    assert rates[9] == 2.0


def test_slowfast_s_cosine_is_below_the_peak_when_the_rise_ends():
    rates = [learning_rate(s, 200, 1.2, 35, 0.001, cosine_from_start=True) for s in range(200)]
    assert max(rates) == rates[34] == pytest.approx(1.2 * 0.5 * (1 + math.cos(math.pi * 35 / 200)))
    assert max(rates) / 1.2 == pytest.approx(0.926, abs=1e-3)
    assert rates[35] == pytest.approx(rates[34])
    assert rates[100] == pytest.approx(0.6)


def test_warm_up_is_a_share_or_a_number_of_epochs():
    assert rising_steps(OptimConfig(warmup=0.05), 200, 10) == 10
    assert rising_steps(OptimConfig(warmup=3), 200, 10) == 30
    assert rising_steps(OptimConfig(warmup=30), 200, 10) == 200
    assert rising_steps(OptimConfig(warmup=0), 200, 10) == 0


def test_the_rate_scales_with_the_batch_when_asked():
    assert batch_factor(OptimConfig(lr_per=64), 512) == 8.0
    assert batch_factor(OptimConfig(), 512) == 1.0
