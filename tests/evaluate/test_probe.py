"""Probes of planted features, whose answers are known, and what cannot be probed says why."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from bodvcl.evaluate.classifiers import knn_scores, neighbours, ridge_scores, sgd_scores
from bodvcl.evaluate.comparison import comparison_rows, save_probe
from bodvcl.evaluate.labels import class_task, halves, only_in
from bodvcl.evaluate.names import PROBES
from bodvcl.evaluate.probe import probe_table, probe_videos
from bodvcl.evaluate.probe_console import probe_summary
from bodvcl.evaluate.score import Score
from bodvcl.text.tables import show

CLASSIFIERS = ("ridge", "sgd", "knn")


def planted(labels: list[str], strength: float, dims: int = 8, seed: int = 0) -> torch.Tensor:
    """Unit noise; class k is moved by ``strength`` along axis k."""
    noise = torch.randn(len(labels), dims, generator=torch.Generator().manual_seed(seed))
    for k, name in enumerate(sorted(set(labels))):
        noise[:, k] += strength * torch.tensor([label == name for label in labels])
    return noise


def draw(classes: int, count: int, seed: int = 0) -> list[str]:
    return [f"c{k}" for k in np.random.default_rng(seed).integers(0, classes, count)]


def one(features: torch.Tensor, labels: list, probe: str = "ridge", train=None, seed: int = 0) -> Score:
    """The first score of one probe on one column."""
    return probe_videos({"x": features}, {"y": labels}, train, seed, probes=(probe,))[0]


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_separable_classes_are_read_perfectly(probe: str, classes: int) -> None:
    labels = draw(classes, 140)
    table = probe_videos({"x": planted(labels, 30.0)}, {"y": labels}, probes=(probe,), k=5)
    assert all(score.value == 1.0 for score in table)
    metrics = [score.metric for score in table]
    if probe == "retrieval":
        assert metrics == ["R@1", "R@5", "R@10", "R@20", "R@50"]
    else:
        assert metrics == (["top1", "top5"] if classes > 5 else ["top1"])
    assert {(score.classes, score.train + score.test) for score in table} == {(classes, 140)}
    assert 0.9 < table[0].interval[0] < 1.0
    assert table[0].interval[1] == 1.0


@pytest.mark.parametrize(("probe", "slack"), [("ridge", 0.015), ("sgd", 0.015), ("knn", 0.03)])
def test_accuracy_of_overlapping_classes_is_the_bayes_rate(probe: str, slack: float) -> None:
    labels = draw(2, 6000)
    x = planted(labels, 1.0, dims=4)
    # Means (1, 0) and (0, 1), unit noise: distance sqrt(2), so the best rate is Phi(sqrt(2) / 2) = 0.760.
    result = one(x, labels, probe)
    assert result.value == pytest.approx(0.760, abs=slack)
    assert result.interval[0] < result.value < result.interval[1]


@pytest.mark.parametrize("probe", PROBES)
def test_noise_gives_chance(probe: str) -> None:
    labels = draw(2, 2000, seed=3)
    noise = torch.randn(2000, 8, generator=torch.Generator().manual_seed(4))
    for score in probe_videos({"x": noise}, {"y": labels}, probes=(probe,)):
        assert abs(score.value - score.chance) < 0.06


def test_chance_is_the_share_of_the_largest_class() -> None:
    labels = ["a"] * 90 + ["b"] * 30
    result = one(torch.zeros(120, 4), labels)
    assert result.chance == pytest.approx(0.75)
    assert result.value == pytest.approx(0.75)


def test_chance_of_retrieval_is_that_of_drawing() -> None:
    labels = ["a"] * 40 + ["b"] * 8 + ["c"] * 16
    rng, draws = np.random.default_rng(0), 20_000
    score = probe_table(
        torch.randn(64, 3), labels, torch.randn(3, 3), ["a", "b", "c"], probes=("retrieval",), ranks=(5,)
    )[0]
    order = rng.random((draws, 64)).argsort(1)[:, :5]
    found = [(np.array(labels)[order] == name).any(1).mean() for name in "abc"]
    assert score.chance == pytest.approx(np.mean(found), abs=0.01)


@pytest.mark.parametrize("probe", ["ridge", "sgd"])
def test_scale_and_constant_features_do_not_matter_to_a_linear_probe(probe: str) -> None:
    labels = draw(2, 200)
    x = planted(labels, 2.0).double()
    plain = one(x, labels, probe)
    scaled = one(torch.cat([x * 1e6 + 1e3, torch.ones(200, 2)], 1), labels, probe)
    assert plain.value == scaled.value


def test_ridge_solves_the_normal_equations() -> None:
    rng = np.random.default_rng(0)
    x, y, queries = rng.standard_normal((60, 5)), np.arange(60) % 3, rng.standard_normal((7, 5))
    scores = ridge_scores(x, y, queries)
    mean, std = x.mean(0), x.std(0)
    a, b = (x - mean) / std, (queries - mean) / std
    targets = np.where(np.eye(3)[y] > 0, 1.0, -1.0)
    candidates, errors = [], []
    for ridge in np.logspace(-1, 5, 13):
        gram = np.linalg.inv(a.T @ a + ridge * np.eye(5))
        hat = a @ gram @ a.T + 1 / 60
        fitted = targets.mean(0) + a @ gram @ a.T @ (targets - targets.mean(0))
        errors.append((((targets - fitted) / (1 - np.diag(hat))[:, None]) ** 2).mean())
        candidates.append(targets.mean(0) + b @ gram @ a.T @ (targets - targets.mean(0)))
    np.testing.assert_allclose(scores, candidates[int(np.argmin(errors))], atol=1e-8)


def test_sgd_reaches_the_minimum_of_the_cross_entropy() -> None:
    from sklearn.linear_model import LogisticRegression

    labels = draw(3, 600)
    x = planted(labels, 1.5).double().numpy()
    y = np.array([int(name[1]) for name in labels])
    mine = torch.from_numpy(sgd_scores(x[:400], y[:400], x[400:])).log_softmax(1)
    theirs = LogisticRegression(C=1e6, max_iter=2000).fit(x[:400], y[:400]).predict_log_proba(x[400:])
    rows = torch.arange(200), torch.from_numpy(y[400:])
    assert abs(float(mine[rows].mean()) - float(torch.from_numpy(theirs)[rows].mean())) < 0.05


def test_sgd_works_where_no_video_can_be_held_out() -> None:
    x = np.array([[0.0], [1.0], [0.1], [1.1]])
    scores = sgd_scores(x[:2], np.array([0, 1]), x[2:])
    assert scores.argmax(1).tolist() == [0, 1]


def test_knn_votes_by_hand() -> None:
    train = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0]])
    scores = knn_scores(train, np.array([0, 1, 1, 0]), np.array([[2.0, 0.0]]), k=3, temperature=0.5)
    weight = [1.0, math.exp((0.0 - 1) / 0.5), math.exp((math.sqrt(0.5) - 1) / 0.5)]
    assert scores[0] == pytest.approx([weight[0], weight[1] + weight[2]])  # the nearest one has cosine 1


def test_the_nearest_video_votes_however_low_the_temperature() -> None:
    scores = knn_scores(np.eye(2), np.array([0, 1]), np.array([[0.2, 0.3], [0.3, 0.2]]), temperature=1e-6)
    assert scores.argmax(1).tolist() == [1, 0]
    assert np.isfinite(scores).all()


def test_neighbours_are_those_of_plain_sorting_and_zeros_are_near_nothing() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((50, 6)), rng.standard_normal((1500, 6))
    values, rows = neighbours(train, test, 7)
    unit = train / np.linalg.norm(train, axis=1)[:, None]
    cosine = test / np.linalg.norm(test, axis=1)[:, None] @ unit.T
    expected = np.argsort(-cosine, axis=1)[:, :7]
    assert (rows == expected).all()
    np.testing.assert_allclose(values, np.take_along_axis(cosine, expected, 1), atol=1e-12)
    assert neighbours(np.zeros((2, 3)), np.ones((1, 3)), 2)[0].tolist() == [[0.0, 0.0]]


def test_retrieval_by_hand() -> None:
    # Without the means: train -1, 0, 1 on one axis and a constant second one; test -1 and 1.
    train = np.array([[9.0, 5.0], [10.0, 6.0], [11.0, 5.0]])
    test = np.array([[-1.0, 0.0], [1.0, 0.0]])
    score = probe_table(train, ["a", "b", "b"], test, ["b", "b"], probes=("retrieval",), ranks=(1, 2, 3))
    assert score[0].skipped is not None  # one class only is shared
    score = probe_table(train, ["a", "b", "b"], test, ["b", "a"], probes=("retrieval",), ranks=(1, 2, 3))
    assert [(s.metric, s.value) for s in score] == [("R@1", 0.0), ("R@2", 0.5)]


def test_shift_of_a_split_does_not_matter_to_retrieval() -> None:
    labels = draw(4, 120)
    x = planted(labels, 1.5).double()
    plain, moved = (
        probe_table(x[:60], labels[:60], x[60:] + shift, labels[60:], probes=("retrieval",))
        for shift in (0.0, 50.0)
    )
    assert [s.value for s in plain] == [s.value for s in moved]


def test_a_rank_of_all_training_videos_is_left_out() -> None:
    labels = ["a", "b"] * 10
    metrics = [
        s.metric for s in probe_videos({"x": torch.randn(20, 3)}, {"y": labels}, probes=("retrieval",))
    ]
    assert metrics == ["R@1", "R@5"]


def test_composed_and_decomposed_accents_are_the_same_class() -> None:
    labels = ["caf\u00e9", "cafe\u0301", "tea", "tea"] * 10
    result = one(planted(["caf\u00e9", "caf\u00e9", "tea", "tea"] * 10, 30.0), labels)
    assert (result.classes, result.value) == (2, 1.0)


def test_unknown_labels_and_lone_classes_are_left_out() -> None:
    labels: list[object] = [*draw(2, 60), None, "", math.nan, "  ", "lonely"]
    x = torch.cat([planted(labels[:60], 30.0), torch.full((5, 8), 1e9)])
    result = one(x, labels)
    assert result.train + result.test == 60
    assert result.value == 1.0


def test_numbers_are_labels_too() -> None:
    numbers = [int(name[1]) for name in draw(2, 40)]
    assert one(planted(draw(2, 40), 30.0), numbers).value == 1.0


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
    table = probe_videos({"x": torch.randn(len(labels), 3)}, {"y": labels})
    assert len(table) == 1
    assert reason in (table[0].skipped or "")
    assert math.isnan(table[0].value)
    assert table[0].per_class() == {}


def test_non_finite_features_are_named_not_guessed() -> None:
    x = torch.randn(20, 3)
    x[4, 1] = math.nan
    x[9, 2] = math.inf
    assert one(x, ["a", "b"] * 10).skipped == "features of 2 of 20 videos are not finite"


def test_four_videos_are_enough() -> None:
    result = one(torch.tensor([[0.0], [1.0], [0.1], [1.1]]), ["a", "b", "a", "b"])
    assert (result.train, result.test, result.value) == (2, 2, 1.0)
    assert result.interval[0] < 0.5


def test_arguments_that_do_not_belong_together_are_refused() -> None:
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match="3 rows of features and 2 labels of label"):
        probe_table(x, ["a", "b"], x, ["a", "b", "a"])
    with pytest.raises(ValueError, match=r"labels to train on are named \['p'\], those to test on \['q'\]"):
        probe_table(x, {"p": "aba"}, x, {"q": "aba"})
    with pytest.raises(ValueError, match="no probe named 'svm'"):
        probe_table(x, "aba", x, "aba", probes=("svm",))


def test_several_kinds_and_columns() -> None:
    labels = {"shape": draw(2, 80), "path": draw(3, 80, seed=1)}
    features = {"static": planted(labels["shape"], 30.0), "dynamic": planted(labels["path"], 30.0)}
    half = slice(0, 40), slice(40, 80)
    table = probe_table(
        {kind: x[half[0]] for kind, x in features.items()},
        {name: column[half[0]] for name, column in labels.items()},
        {kind: x[half[1]].numpy() for kind, x in features.items()},
        {name: column[half[1]] for name, column in labels.items()},
        probes=("ridge",),
    )
    values = {(score.features, score.semantic): score.value for score in table}
    assert values["static", "shape"] == values["dynamic", "path"] == 1.0
    assert max(values["static", "path"], values["dynamic", "shape"]) < 0.8


def test_accuracy_of_each_class() -> None:
    labels = ["a"] * 40 + ["b"] * 40
    train = np.arange(80) % 2 == 0
    x = planted(labels, 30.0)
    x[41:61:2] = x[0]  # ten of the twenty test videos of b look like a
    result = one(x, labels, train=train)
    assert result.per_class() == {"a": (1.0, 20), "b": (0.5, 20)}
    assert result.value == 0.75


def test_halves_are_stratified_and_a_function_of_the_seed() -> None:
    labels = ["a"] * 10 + ["b"] * 5 + [None]
    train = halves(labels, seed=1)
    assert train[:10].sum() == 5
    assert train[10:15].sum() == 3
    assert not train[15]
    assert (train == halves(labels, seed=1)).all()
    assert (train != halves(labels, seed=2)).any()


def test_given_halves_are_used() -> None:
    x, labels = torch.tensor([[0.0], [1.0], [0.0], [1.0], [1.0], [1.0]]), ["a", "b", "a", "b", "a", "c"]
    train = np.array([True, True, True, True, False, False])
    result = one(torch.cat([x, x]), labels * 2, train=np.concatenate([train, ~train]))
    assert (result.train, result.test, result.classes) == (6, 6, 3)
    assert "1 of 3 classes" in (one(x, labels, train=train).skipped or "")


def test_a_task_names_its_rows() -> None:
    task = class_task(["b", None, "a", "z"], ["a", "q", "b"])
    assert task.names == ("a", "b")
    assert task.train.tolist() == [0, 2]
    assert task.train_classes.tolist() == [1, 0]
    assert task.test.tolist() == [0, 2]
    assert task.test_classes.tolist() == [0, 1]
    assert only_in(["a", "q", None, "b"], ["b", "a", "z"]) == ["q"]


@pytest.fixture
def rows() -> list[dict]:
    labels = {"shape": draw(2, 80), "path": draw(2, 80, seed=1), "camera": ["x"] * 80}
    before = {name: planted(labels["shape"], 0.3, seed=5) for name in ("backbone", "static", "dynamic")}
    after = {
        "backbone": planted(labels["shape"], 30.0),
        "static": planted(labels["shape"], 30.0),
        "dynamic": planted(labels["path"], 30.0),
    }
    tables = (probe_videos(features, labels, probes=("ridge",)) for features in (before, after))
    return comparison_rows(*tables, {"shape": "static", "path": "dynamic"})


def test_comparison_has_a_row_for_every_feature_and_label(rows: list[dict]) -> None:
    assert len(rows) == 9
    first = rows[0]
    assert (first["semantic"], first["kind"], first["features"]) == ("shape", "static", "backbone")
    assert first["pretrained"] == 1.0
    assert first["gain"] == pytest.approx(first["pretrained"] - first["untrained"])
    assert 0 < first["gain_margin"] < first["gain"]
    assert first["untrained_low"] < first["untrained"] < first["untrained_high"]
    camera = next(row for row in rows if row["semantic"] == "camera")
    assert camera["skipped"] == "all videos have the same label"
    assert camera["kind"] is None


def test_comparison_is_strict_json(rows: list[dict], tmp_path) -> None:
    save_probe(rows, tmp_path / "probe.json")
    assert json.loads((tmp_path / "probe.json").read_text(), parse_constant=pytest.fail)["rows"] == rows
    assert [path.name for path in tmp_path.iterdir()] == ["probe.json"]


def printed(rows: list[dict], capsys: pytest.CaptureFixture[str]) -> str:
    show(*probe_summary(rows))
    return capsys.readouterr().out


def test_terminal_table_fits_80_columns(rows: list[dict], capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = printed(rows, capsys)
    shape = next(line for line in text.splitlines() if "shape" in line)
    assert shape.split()[:2] == ["shape", "static"]
    assert shape.split()[4] == "100.0"
    assert shape.split()[-2] == "100.0"
    assert len(shape.rstrip()) <= 80
    assert "camera skipped: all videos have the same label" in text
    assert "--labels COLUMN" in text


def test_nothing_but_skipped_columns_is_no_table(rows: list[dict], capsys) -> None:
    text = printed([row for row in rows if row["skipped"]], capsys)
    assert "semantic" not in text
    assert "camera skipped" in text


def test_label_text_is_not_console_markup(rows: list[dict], capsys) -> None:
    for row in rows:
        row["semantic"] = "[red]x[/nonsense]"
    assert "[red]x[/nonsense]" in printed(rows, capsys)
