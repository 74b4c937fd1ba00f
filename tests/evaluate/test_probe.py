"""The linear probe: planted features have known answers, and what cannot be probed says why."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from rich.console import Console

from bodvcl.evaluate.probe import (
    Z95,
    halves,
    linear_probe,
    paired_margin,
    probe_features,
    probe_table,
    save_probe,
    wilson_interval,
)
from bodvcl.evaluate.probe_console import console_table


def planted(labels: list[str], strength: float, dims: int = 8, seed: int = 0) -> torch.Tensor:
    """Unit noise; class k is moved by ``strength`` along axis k."""
    noise = torch.randn(len(labels), dims, generator=torch.Generator().manual_seed(seed))
    for k, name in enumerate(sorted(set(labels))):
        noise[:, k] += strength * torch.tensor([label == name for label in labels])
    return noise


def draw(classes: int, count: int, seed: int = 0) -> list[str]:
    return [f"c{k}" for k in np.random.default_rng(seed).integers(0, classes, count)]


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_separable_classes_are_read_perfectly(classes: int) -> None:
    labels = draw(classes, 120)
    result = linear_probe(planted(labels, 30.0), labels)
    assert result.accuracy == 1.0
    assert result.classes == classes
    assert result.train + result.test == 120
    assert result.high == pytest.approx(1.0)
    assert 0.9 < result.low < 1.0
    assert result.skipped is None


def test_accuracy_of_overlapping_classes_is_the_bayes_rate() -> None:
    labels = draw(2, 8000)
    x = planted(labels, 1.0)
    # Means (1, 0) and (0, 1), unit noise: distance sqrt(2), so the best rate is Phi(sqrt(2) / 2) = 0.760.
    result = linear_probe(x, labels)
    assert result.accuracy == pytest.approx(0.760, abs=0.015)
    assert result.low < 0.760 < result.high


def test_noise_gives_chance() -> None:
    labels = draw(2, 2000, seed=3)
    result = linear_probe(torch.randn(2000, 8, generator=torch.Generator().manual_seed(4)), labels)
    assert result.low < result.chance < result.high
    assert abs(result.accuracy - 0.5) < 0.06


def test_chance_is_the_share_of_the_largest_class() -> None:
    labels = ["a"] * 90 + ["b"] * 30
    result = linear_probe(torch.zeros(120, 4), labels)
    assert result.chance == pytest.approx(0.75)
    assert result.accuracy == pytest.approx(0.75)


def test_scale_and_constant_features_do_not_matter() -> None:
    labels = draw(2, 200)
    x = planted(labels, 2.0).double()
    plain = linear_probe(x, labels)
    scaled = linear_probe(torch.cat([x * 1e6 + 1e3, torch.ones(200, 2)], 1), labels)
    assert plain.accuracy == scaled.accuracy


def test_unknown_labels_and_lone_classes_are_left_out() -> None:
    labels: list[object] = [*draw(2, 60), None, "", math.nan, "  ", "lonely"]
    x = torch.cat([planted(labels[:60], 30.0), torch.full((5, 8), 1e9)])
    result = linear_probe(x, labels)
    assert result.train + result.test == 60
    assert result.accuracy == 1.0


def test_numbers_are_labels_too() -> None:
    assert linear_probe(planted(draw(2, 40), 30.0), [int(name[1]) for name in draw(2, 40)]).accuracy == 1.0


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([None] * 6, "no video has this label"),
        (["a"] * 6, "all videos have the same label"),
        (list("abcdef"), "0 of 6 classes have videos both to train and to test on"),
        (list("aaabcd"), "1 of 4 classes"),
        ([], "no video has this label"),
    ],
)
def test_what_cannot_be_probed_says_why(labels: list[str | None], reason: str) -> None:
    result = linear_probe(torch.randn(len(labels), 3), labels)
    assert result.skipped is not None
    assert reason in result.skipped
    assert math.isnan(result.accuracy)


def test_non_finite_features_are_named_not_guessed() -> None:
    x = torch.randn(20, 3)
    x[4, 1] = math.nan
    x[9, 2] = math.inf
    assert linear_probe(x, ["a", "b"] * 10).skipped == "features of 2 of 20 videos are not finite"


def test_four_videos_are_enough() -> None:
    result = linear_probe(torch.tensor([[0.0], [1.0], [0.1], [1.1]]), ["a", "b", "a", "b"])
    assert (result.train, result.test, result.accuracy) == (2, 2, 1.0)
    assert result.low < 0.5


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="3 rows of features and 2 labels"):
        linear_probe(torch.randn(3, 2), ["a", "b"])


def test_halves_are_stratified_and_a_function_of_the_seed() -> None:
    classes = np.array([0] * 10 + [1] * 5)
    train = halves(classes, seed=1)
    assert train[:10].sum() == 5
    assert train[10:].sum() == 3
    assert (train == halves(classes, seed=1)).all()
    assert (train != halves(classes, seed=2)).any()


def test_given_halves_are_used() -> None:
    x, labels = torch.tensor([[0.0], [1.0], [0.0], [1.0], [1.0], [1.0]]), ["a", "b", "a", "b", "a", "c"]
    train = np.array([True, True, True, True, False, False])
    result = linear_probe(torch.cat([x, x]), labels * 2, train=np.concatenate([train, ~train]))
    assert (result.train, result.test, result.classes) == (6, 6, 3)
    lone = linear_probe(x, labels, train=train)
    assert "1 of 3 classes" in (lone.skipped or "")


def test_wilson_interval_against_the_textbook() -> None:
    # Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(20, 20)[1] == pytest.approx(1.0)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_paired_margin_by_hand() -> None:
    before = np.array([True] * 10 + [False] * 88)
    after = np.array([False] * 5 + [True] * 25 + [False] * 68)
    gained, lost = 21 / 100, 6 / 100
    expected = Z95 * math.sqrt((gained + lost - (gained - lost) ** 2) / 100)
    assert paired_margin(before, after) == pytest.approx(expected)
    assert paired_margin(before, before) > 0


@pytest.fixture
def rows() -> list[dict]:
    labels = {"shape": draw(2, 80), "path": draw(2, 80, seed=1), "camera": ["x"] * 80}
    before = {name: planted(labels["shape"], 0.3, seed=5) for name in ("backbone", "static", "dynamic")}
    after = {
        "backbone": planted(labels["shape"], 30.0),
        "static": planted(labels["shape"], 30.0),
        "dynamic": planted(labels["path"], 30.0),
    }
    return probe_table(
        probe_features(before, labels), probe_features(after, labels), {"shape": "static", "path": "dynamic"}
    )


def test_table_has_a_row_for_every_feature_and_label(rows: list[dict]) -> None:
    assert len(rows) == 9
    first = rows[0]
    assert (first["semantic"], first["kind"], first["features"]) == ("shape", "static", "backbone")
    assert first["pretrained"] == 1.0
    assert first["gain"] == pytest.approx(first["pretrained"] - first["untrained"])
    assert first["untrained_low"] < first["untrained"] < first["untrained_high"]
    camera = next(row for row in rows if row["semantic"] == "camera")
    assert camera["skipped"] == "all videos have the same label"
    assert camera["kind"] is None


def test_table_is_strict_json(rows: list[dict], tmp_path) -> None:
    save_probe(rows, tmp_path / "probe.json")
    assert json.loads((tmp_path / "probe.json").read_text(), parse_constant=pytest.fail)["rows"] == rows
    assert [path.name for path in tmp_path.iterdir()] == ["probe.json"]


def test_no_labels_give_no_rows() -> None:
    results = probe_features({"backbone": torch.randn(4, 2)}, None)
    assert probe_table(results, results) == []


def test_terminal_table_fits_80_columns(rows: list[dict]) -> None:
    console = Console(width=80, record=True, force_terminal=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(console_table(rows))
    text = console.export_text()
    assert "…" not in text
    shape = next(line for line in text.splitlines() if "shape" in line).split()
    assert shape[:2] == ["shape", "static"]
    assert shape[4] == "100.0"
    assert shape[-2] == "100.0"
    assert "camera skipped: all videos have the same label" in text


def test_label_text_is_not_console_markup(rows: list[dict]) -> None:
    rows[0]["semantic"] = "[red]x[/nonsense]"
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(console_table(rows))
    assert "[red]x[/nonsense]" in console.export_text()
