"""Several classes in one cell: how they are found, and probes whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from bodvcl.errors import ConfigError
from bodvcl.evaluate.average_precision import average_precisions
from bodvcl.evaluate.classifiers import ridge_scores
from bodvcl.evaluate.options import ProbeOptions, refuse_contradictions
from bodvcl.evaluate.probe import probe_table, probe_videos
from bodvcl.evaluate.probe_report import ProbeReport
from bodvcl.evaluate.probe_several import several_votes
from bodvcl.evaluate.several import choose_separator, classes_in, hint, several_task


@pytest.mark.parametrize(
    ("cell", "separator", "classes"),
    [
        ("run;jump", ";", ["run", "jump"]),
        (" jump ; ;run;jump ", ";", ["jump", "run"]),
        ("run|jump", "|", ["run", "jump"]),
        ("run;jump", "|", ["run;jump"]),
        ("run;jump", None, ["run;jump"]),
        ('["run", "jump, high"]', ";", ["run", "jump, high"]),
        ("[1, 2]", ";", ["1", "2"]),
        ("[]", ";", []),
        ("[run;jump", ";", ["[run", "jump"]),
        ('{"a": 1}', ";", ['{"a": 1}']),
        ('["a", ["b"]]', "|", ['["a", ["b"]]']),
        ("", ";", []),
        (None, ";", []),
        (float("nan"), ";", []),
    ],
)
def test_classes_of_a_cell(cell, separator, classes):
    assert classes_in(cell, separator) == classes


def test_the_separator_is_found_and_said():
    assert choose_separator("action", ["a;b", "a", None, "b;c"], None) == (
        ";", "label action can have several classes: ';' separates classes in 2 of 3 cells",
    )  # fmt: skip
    assert choose_separator("action", ["a|b", "a"], None)[0] == "|"
    assert choose_separator("action", ["a|b;c", "a;d"], ";") == (
        ";", "label action can have several classes: ';' separates classes in 2 of 2 cells",
    )  # fmt: skip
    line = choose_separator("x", ['["a;b"]', "a"], None)[1]
    assert line.endswith("';' separates classes in 0 of 2 cells, 1 are lists in JSON")
    with pytest.raises(ConfigError, match=r"cells contain both ';' and '\|'; --separator says which"):
        choose_separator("action", ["a;b", "c|d"], None)


def test_cells_are_not_split_without_being_asked():
    assert hint("action", ["open|close", "run"]) == (
        "note: label action: cells contain '|', and each counts as one class; if they hold several, add "
        "--multi-label"
    )
    assert "';' or a list in JSON" in (hint("action", ["a;b", '["c"]']) or "")
    assert hint("action", ["run, jump", None]) is None


def test_a_task_leaves_out_classes_of_one_part():
    task = several_task(["a;b", "c", None, "a"], ["b;a", "d", "b;d", "c"], ";")
    assert task.names == ("a", "b", "c")
    assert task.train.tolist() == [0, 1, 3]
    assert task.test.tolist() == [0, 2, 3]
    assert task.train_targets.tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert task.test_targets.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert task.chance == pytest.approx(4 / 9)
    assert several_task(["a"], ["a"], ";").skipped == "all videos have the same label"


def test_average_precision_by_hand_and_beside_scikit_learn():
    """Ranks 1 and 3 of four are right: (1/1 + 2/3) / 2."""
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    targets = np.array([[1, 1], [0, 0], [1, 0], [0, 0]], bool)
    assert average_precisions(scores, targets) == pytest.approx([5 / 6, 1 / 4])
    rng = np.random.default_rng(0)
    scores, targets = rng.random((40, 5)), rng.random((40, 5)) < 0.3
    targets[:, 4] = False
    found = average_precisions(scores, targets)
    truth = [average_precision_score(targets[:, k], scores[:, k]) for k in range(4)]
    np.testing.assert_allclose(found[:4], truth, atol=1e-6)
    assert np.isnan(found[4])


def planted(count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Each of three classes has a direction of its own; a video is the sum of its classes, with noise."""
    rng = np.random.default_rng(seed)
    has = rng.random((count, 3)) < 0.4
    has[~has.any(1), 0] = True
    features = has @ np.eye(3, 8) + 0.05 * rng.standard_normal((count, 8))
    return features, [";".join(np.array(["x", "y", "z"])[row]) for row in has]


def test_classes_that_can_be_read_are_read():
    (x, labels), (x_test, labels_test) = planted(80, 0), planted(60, 1)
    table = probe_table(x, labels, x_test, labels_test, k=5, separator=";")
    value = {(score.probe, score.metric): score for score in table}
    assert value["ridge", "map"].value > 0.999
    assert value["knn", "map"].value > 0.98
    assert value["retrieval", "R@1"].value > 0.98
    ridge = value["ridge", "map"]
    assert (ridge.classes, ridge.train, ridge.test) == (3, 80, 60)
    assert set(ridge.per_class()) == {"x", "y", "z"}
    assert sum(ridge.chance > other for other in (0.3, 0.7)) == 1
    noise = np.random.default_rng(2)
    blind = probe_table(
        noise.standard_normal(x.shape), labels, noise.standard_normal(x_test.shape), labels_test,
        separator=";", probes=["ridge"],
    )  # fmt: skip
    assert blind[0].value == pytest.approx(blind[0].chance, abs=0.15)
    with pytest.raises(ValueError, match="sgd knows only one class per video"):
        probe_table(x, labels, x_test, labels_test, probes=["sgd"], separator=";")


def test_ridge_of_a_class_is_that_of_a_plain_regression():
    """Each class by itself: the order of the scores is that of ridge regression on its own targets of +-1."""
    (x, labels), (x_test, _) = planted(40, 3), planted(20, 4)
    task = several_task(labels, labels, ";")
    scores = ridge_scores(x, task.train_targets.astype(np.int64), x_test)
    assert scores.shape == (20, 3)
    mean, scale = x.mean(0), x.std(0)
    z, z_test = (x - mean) / scale, (x_test - mean) / scale
    y = np.where(task.train_targets, 1.0, -1.0)
    centred = y - y.mean(0)
    fits = [
        z_test @ np.linalg.solve(z.T @ z + penalty * np.eye(8), z.T @ centred) + y.mean(0)
        for penalty in np.logspace(-1, 5, 13)
    ]
    assert min(np.abs(fit - scores).max() for fit in fits) < 1e-8


def test_votes_by_hand():
    """Two of two neighbours vote, with the weights 1 and 1/e: the first has a, the second a and b."""
    train = np.array([[1.0, 0.0], [0.0, 1.0]])
    targets = np.array([[1, 0], [1, 1]], bool)
    votes = several_votes(train, targets, np.array([[2.0, 0.0]]), 2, 1.0)
    np.testing.assert_allclose(votes, [[1.0, np.exp(-1) / (1 + np.exp(-1))]])


def test_retrieval_finds_videos_that_share_a_class():
    x = np.array([[1.0, 0.1], [-1.0, 0.1], [1.0, -0.2], [-1.0, 0.0]])
    (first, *_) = probe_table(
        x,
        ["a;b", "c;d", "a;b", "c"],
        x,
        ["b", "a;c", "a", "d"],
        probes=["retrieval"],
        ranks=(1,),
        separator=";",
    )
    assert first.hits.tolist() == [True, True, True, False]
    assert first.chance == pytest.approx(np.mean([2 / 4, 1.0, 2 / 4, 1 / 4]))


def test_without_splits_half_of_the_videos_train():
    x, labels = planted(60, 5)
    x = np.concatenate([x, x[:1]])
    (score,) = probe_videos({"f": x}, {"label": [*labels, None]}, None, probes=["ridge"], separator=";")
    assert (score.train, score.test) == (30, 30)


def test_the_report_says_map(tmp_path):
    (x, labels), (x_test, labels_test) = planted(40, 6), planted(30, 7)
    scores = probe_table(x, {"action": labels}, x_test, {"action": labels_test}, separator=";")
    report = ProbeReport({"against": "untrained"}, scores, scores)
    titles = [table.title for table in report.tables()]
    assert titles[0] == "mean average precision in %"
    assert titles[1] == "mean average precision in %: gain over untrained, in points"
    assert "ridge\nmAP" in report.tables()[0].columns
    row = report.rows()[0]
    assert (row["metric"], row["low"], row["gain"]) == ("map", None, 0.0)
    report.save(tmp_path / "probe.json")
    assert '"ap"' in (tmp_path / "probe.json").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multi_label": True}, "name the columns whose cells hold several classes with --labels"),
        ({"multi_label": True, "labels": ("a",), "probe": ("sgd",)}, "sgd knows only one class per video"),
        ({"separator": "|"}, "--separator applies only to --multi-label"),
    ],
)
def test_options_that_contradict_each_other(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        refuse_contradictions(ProbeOptions(checkpoint=tmp_path, **options))
