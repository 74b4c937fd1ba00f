"""Each finding on made-up logs: there where it should be, with its remedy, and silent on a healthy run."""

from __future__ import annotations

import math
import re

import pytest

from bodvcl.engine.health import HISTORY, WINDOW, health_warnings

HEALTHY = {
    "loss": 5.0, "loss_pred": 0.1, "empty_static": 0.1, "empty_dynamic": 0.0, "mean_cosine_static": 0.3,
    "mean_cosine_dynamic": 0.1, "effective_rank_static": 8.0, "effective_rank_dynamic": 12.0,
    "circle_distance": 0.2, "data_wait": 0.05,
}  # fmt: skip


def history(change=None, lines=WINDOW):
    made = []
    for number in range(lines):
        line = HEALTHY | {"step": 5 * (number + 1)}
        made.append(line | (change(number) if change else {}))
    return made


def names(change, lines=WINDOW):
    return [finding.name for finding in health_warnings(history(change, lines))]


def test_a_healthy_run_gives_no_finding():
    assert health_warnings(history()) == []
    assert health_warnings(history(lines=3 * WINDOW)) == []


@pytest.mark.parametrize(
    ("name", "change", "remedy"),
    [
        ("empty_static", lambda n: {"empty_static": 0.6}, "--koopman.mask smooth"),
        ("empty_dynamic", lambda n: {"empty_dynamic": 0.9}, "bodvcl data show"),
        (
            "collapse",
            lambda n: {"mean_cosine_static": 0.999, "mean_cosine_dynamic": 0.995},
            "lower --optim.lr",
        ),
        ("effective_rank_dynamic", lambda n: {"effective_rank_dynamic": 1.1}, "raise --batch-size"),
        ("circle_distance", lambda n: {"circle_distance": 0.95}, "lower --clip.stride"),
        ("stream_cosine", lambda n: {"stream_cosine": 0.97}, "lower --koopman.ridge"),
        ("shared_neighbours", lambda n: {"shared_neighbours": 0.6}, "use --augment.mix 1"),
        ("data_wait", lambda n: {"data_wait": 0.8}, "raise --workers"),
        ("skipped_steps", lambda n: {"skipped_steps": 2 * n}, "--precision bf16"),
    ],
)
def test_each_finding_is_found_alone_and_names_a_remedy(name, change, remedy):
    (finding,) = health_warnings(history(change))
    assert finding.name == name
    assert remedy in finding.text
    assert "\n" not in finding.text
    assert re.search(r"\d", finding.text)
    assert names(change, lines=WINDOW - 1) == []


def test_only_the_last_lines_count():
    assert names(lambda n: {"empty_static": 1.0 if n < WINDOW else 0.0}, lines=2 * WINDOW) == []
    assert names(lambda n: {"empty_static": 0.0 if n < WINDOW else 1.0}, 2 * WINDOW) == ["empty_static"]


def test_one_collapsed_stream_is_no_collapse_of_all():
    assert names(lambda n: {"mean_cosine_static": 0.999}) == []


def test_a_lower_loss_that_rises_against_the_upper_one_is_found_after_the_start():
    def rising(n):
        return {"loss_pred": 0.01 * 1.1**n, "loss": 5 - 0.05 * n}

    assert names(rising, HISTORY - 1) == []
    (finding,) = health_warnings(history(rising, HISTORY))
    assert finding.name == "lower_rises"
    assert "--bilevel.gamma" in finding.text
    assert names(lambda n: rising(n) | {"loss": 5 + 0.05 * n}, HISTORY) == []
    assert names(lambda n: rising(min(n, WINDOW)), HISTORY) == []


def test_missing_and_unknown_values_are_no_finding():
    plain = [{"loss": 1.0, "step": n} for n in range(WINDOW)]
    assert health_warnings(plain) == []
    assert names(lambda n: {"empty_static": math.nan}) == []
