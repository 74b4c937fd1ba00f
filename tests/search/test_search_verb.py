"""`bodvcl search` from the command line."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from made_embeddings import embeddings, looks_and_movements

from bodvcl.cli.main import main
from bodvcl.embed.file import About, write_embeddings
from bodvcl.errors import CheckpointError

Search = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve files of different sizes."""
    for row in range(12):
        (tmp_path / f"{row}.mp4").write_bytes(b"x" * (100 + row))
    return tmp_path


@pytest.fixture
def file(folder: Path) -> Path:
    paths = [str(folder / f"{row}.mp4") for row in range(12)]
    stats = [os.stat(path) for path in paths]
    rows = looks_and_movements(
        paths=paths, size=[one.st_size for one in stats], modified=[one.st_mtime_ns for one in stats]
    )
    write_embeddings(folder / "e.parquet", rows)
    return folder / "e.parquet"


@pytest.fixture
def search(file: Path, capsys: pytest.CaptureFixture[str]) -> Search:
    """Runs the verb; returns exit code, what it printed, and its complaint."""

    def run(*options: str, file: Path = file) -> tuple[int, str, str]:
        code = main(["search", str(file), *options])
        out, err = capsys.readouterr()
        assert code != 2 or (err.count("\n") == 1 and not out), (out, err)
        return code, out, err

    return run


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands in for the encoder: a video outside the file looks like row 5 and moves like row 6."""
    asked: list[dict[str, Any]] = []
    vectors = looks_and_movements().vectors

    def embed_query(path: str, about: About, **options: Any) -> dict[str, np.ndarray]:
        asked.append({"path": path, **options})
        if options["checkpoint"] is not None:
            raise CheckpointError("other weights")
        return {"still": vectors["still"][5], "dynamic": vectors["dynamic"][6]}

    module = ModuleType("bodvcl.embed.query")
    module.embed_query = embed_query  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bodvcl.embed.query", module)
    return asked


def test_the_table_has_the_nearest_by_appearance_or_by_motion(search: Search, folder: Path) -> None:
    code, out, err = search("--like", "5.mp4", "--by", "appearance", "--top", "3")
    assert (code, err) == (0, "")
    assert set(re.findall(r"(\d+)\.mp4", out.partition("\n")[2])) == {"4", "6", "7"}
    assert "same scene as the query (scene 1): 3 of 3" in out
    assert "same gesture as the query (gesture 1): 0 of 3" in out
    _, out, _ = search("--like", str(folder / "5.mp4"), "--by", "motion", "--top", "2")
    assert set(re.findall(r"(\d+)\.mp4", out.partition("\n")[2])) == {"1", "9"}
    assert "same gesture as the query (gesture 1): 1 of 1" in out


def test_a_weight_between_is_that_of_the_scores(search: Search, folder: Path) -> None:
    assert (
        search("--like", "5.mp4", "--by", "0.3", "--top", "20", "--out", str(folder / "new/hits.json"))[0]
        == 0
    )
    hits = json.loads((folder / "new/hits.json").read_text())
    assert len(hits) == 11
    for hit in hits:
        assert hit["score"] == pytest.approx(0.7 * hit["appearance"] + 0.3 * hit["motion"])
    assert [hit["rank"] for hit in hits] == list(range(1, 12))
    assert search("--like", "5.mp4", "--out", str(folder / "hits.csv"))[0] == 0
    with open(folder / "hits.csv", newline="") as table:
        row = next(csv.DictReader(table))
    assert Path(row["path"]).parent == folder
    assert {"start", "end", "score", "appearance", "motion", "scene", "gesture"} < set(row)


def test_a_label_with_the_name_of_a_score_does_not_hide_it(search: Search, folder: Path) -> None:
    write_embeddings(folder / "l.parquet", looks_and_movements(labels={"motion": ["fast"] * 12}))
    _, out, _ = search(
        "--like", "5.mp4", "--top", "1", "--out", str(folder / "l.json"), file=folder / "l.parquet"
    )
    assert "label motion" in out
    hit = json.loads((folder / "l.json").read_text())[0]
    assert hit["label motion"] == "fast"
    assert isinstance(hit["motion"], float)


def test_a_video_outside_the_file_is_embedded(
    search: Search, folder: Path, outside: list[dict[str, Any]]
) -> None:
    (folder / "new@1.mp4").touch()
    code, out, _ = search("--like", f"{folder}/new@1.mp4@2.5", "--by", "appearance", "--top", "4")
    assert code == 0
    assert outside == [{"path": f"{folder}/new@1.mp4", "checkpoint": None, "seconds": 2.5, "device": "auto"}]
    assert set(re.findall(r" (?:\S*/)(\d+)\.mp4", out)) == {"4", "5", "6", "7"}
    assert "same scene" not in out
    code, _, err = search("--like", f"{folder}/new@1.mp4", "--checkpoint", "elsewhere")
    assert (code, err) == (2, "bodvcl search: error: other weights\n")


def test_a_moment_of_a_whole_video_of_the_file_leaves_that_video_out(
    search: Search, outside: list[dict[str, Any]]
) -> None:
    _, out, _ = search("--like", "5.mp4@1", "--by", "appearance", "--top", "3")
    assert outside[0]["seconds"] == 1
    assert set(re.findall(r"(\d+)\.mp4", out.partition("\n")[2])) == {"4", "6", "7"}


def test_a_changed_query_is_refused_and_changed_hits_are_named(search: Search, folder: Path) -> None:
    (folder / "4.mp4").write_bytes(b"other")
    (folder / "6.mp4").unlink()
    code, _, err = search("--like", "5.mp4", "--by", "appearance", "--top", "3")
    assert code == 0
    assert f"warning: 1 file changed since they were embedded: {folder}/4.mp4\n" in err
    assert f"warning: 1 file no longer there: {folder}/6.mp4\n" in err
    code, _, err = search("--like", "4.mp4")
    assert code == 2
    assert "4.mp4: the file has changed since it was embedded; run bodvcl embed again" in err


def test_copies_are_listed_with_the_largest_file_to_keep(search: Search, folder: Path) -> None:
    code, out, _ = search("--duplicates", "--by", "motion", "--above", "0.9", "--out", str(folder / "go.txt"))
    assert code == 0
    removed = (folder / "go.txt").read_text().split()
    assert sorted(removed) == sorted(str(folder / f"{row}.mp4") for row in range(8))
    assert re.search(r"1 +\S+/8\.mp4 +108 +keep", out)
    assert "8 copies in 4 groups" in out
    assert search("--duplicates", "--by", "motion", "--above", "0.9", "--out", str(folder / "go.csv"))[0] == 0
    with open(folder / "go.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["verdict"] for row in rows] == ["keep", "remove", "remove"] * 4
    (folder / "8.mp4").write_bytes(b"other")
    _, _, err = search("--duplicates", "--by", "motion", "--above", "0.9", "--out", str(folder / "go.txt"))
    assert "2 of 8 copies are not listed for removal" in err
    kept = sorted(str(folder / f"{row}.mp4") for row in (1, 2, 3, 5, 6, 7))
    assert sorted((folder / "go.txt").read_text().split()) == kept
    _, out, _ = search("--duplicates", "--by", "motion", "--above", "0.9", "--top", "1")
    assert "the first 1 groups are shown" in out


def test_no_copy_is_an_answer_that_says_how_near_the_nearest_are(search: Search, folder: Path) -> None:
    code, out, err = search("--duplicates", "--above", "1", "--out", str(folder / "go.txt"))
    assert (code, err) == (0, "")
    assert re.match(r"no copies: the nearest two of 12 rows have a score of 0\.\d+, below --above 1\n", out)
    assert (folder / "go.txt").read_text() == ""


def test_near_windows_of_different_videos_are_no_copies(search: Search, folder: Path) -> None:
    rows = looks_and_movements(
        paths=[f"/{n // 3}.mp4" for n in range(12)], video=[n // 3 for n in range(12)], window=2.0
    )
    write_embeddings(folder / "w.parquet", rows)
    code, out, _ = search("--duplicates", "--by", "motion", "--above", "0.9", file=folder / "w.parquet")
    assert code == 0
    assert re.match(
        r"no copies: 12 pairs of windows with a score of 0\.9 or more, but no video has all of", out
    )


def test_outliers_and_clusters(search: Search, folder: Path) -> None:
    code, out, _ = search("--outliers", "--neighbours", "2", "--top", "2", "--out", str(folder / "o.json"))
    assert code == 0
    assert "the median distance of all 12 rows is" in out
    found = json.loads((folder / "o.json").read_text())
    assert [one["distance"] for one in found] == sorted((one["distance"] for one in found), reverse=True)
    code, out, _ = search("--clusters", "3", "--by", "appearance", "--out", str(folder / "c.csv"))
    assert code == 0
    assert "scene: purity 1.000 (one cluster: 0.333), normalised mutual information 1.000" in out
    with open(folder / "c.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert len({row["cluster"] for row in rows[:4]}) == 1
    assert len({row["cluster"] for row in rows}) == 3


def test_agreement_is_told_by_appearance_by_motion_and_by_both(search: Search, folder: Path) -> None:
    code, out, _ = search("--agreement", "--top", "2", "--out", str(folder / "a.json"))
    assert code == 0
    found = {(one["label"], one["by"]): one for one in json.loads((folder / "a.json").read_text())}
    assert found["scene", "appearance"]["shared"] == found["gesture", "motion"]["shared"] == 1
    assert found["scene", "motion"]["shared"] == found["gesture", "appearance"]["shared"] == 0
    assert found["scene", "motion"]["chance"] == pytest.approx(3 / 11)
    assert "gesture" in out


@pytest.mark.parametrize(
    "what",
    [
        ["--like", "5.mp4"],
        ["--duplicates", "--by", "motion", "--above", "0.9"],
        ["--outliers"],
        ["--clusters", "3"],
    ],
)
def test_a_page_shows_what_was_found(
    what: list[str], search: Search, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shown(NamedTuple):
        path: str
        start: float
        end: float
        caption: str

    class Group(NamedTuple):
        heading: str
        about: str
        items: list[Shown]

    seen: dict[str, Any] = {}

    def results_page(title: str, groups: list[Group], facts: dict[str, str]) -> str:
        seen.update(title=title, groups=groups, facts=facts)
        return "<html>"

    module = ModuleType("bodvcl.serve.results_page")
    vars(module).update(Shown=Shown, Group=Group, results_page=results_page)
    monkeypatch.setitem(sys.modules, "bodvcl.serve.results_page", module)
    code, out, _ = search(*what, "--page", str(folder / "page.html"))
    assert code == 0
    assert f"wrote {folder}/page.html" in out
    assert (folder / "page.html").read_text() == "<html>"
    shown = [item for group in seen["groups"] for item in group.items]
    assert shown
    assert all(Path(item.path).parent == folder and item.end == 2 and item.caption for item in shown)
    assert seen["facts"]["rows"] == "12"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "nothing to search for: give exactly one of --like, --duplicates, --outliers, --clusters"),
        (("--like", "5.mp4", "--outliers"), "--like and --outliers together: give exactly one"),
        (("--like", "nowhere.mp4"), "no such video in the file of embeddings, and no such file"),
        (("--like", "5.mp4@7"), "its last row ends at 2.00 s"),
        (("--like", "5.mp4", "--by", "looks"), "--by looks: expected appearance, motion, both"),
        (("--like", "5.mp4", "--by", "1.5"), "a number from 0 to 1"),
        (("--like", "5.mp4", "--above", "0.9"), "--above applies only to --duplicates, not to --like"),
        (("--outliers", "--same-video"), "--same-video applies only to --like"),
        (("--clusters", "13"), "--clusters 13: the file has 12 different rows"),
        (("--clusters", "1"), "--clusters"),
        (("--agreement", "--by", "motion"), "--agreement compares by appearance, by motion and by both"),
        (("--outliers", "--out", "list.txt"), "expected a name that ends in .csv or .json"),
        (("--outliers", "--page", "page"), "expected a name that ends in .html"),
        (("--outliers", "--out", "/proc/nowhere/list.csv"), "--out: cannot write"),
    ],
)
def test_bad_options_are_one_line(options: tuple[str, ...], complaint: str, search: Search) -> None:
    code, _, err = search(*options)
    assert code == 2
    assert complaint in err


def test_bad_files_are_one_line(search: Search, folder: Path) -> None:
    (folder / "text").write_text("x")
    for name in ("text", "missing"):
        code, _, err = search("--outliers", file=folder / name)
        assert code == 2
        assert "bodvcl embed" in err
    still = np.eye(4, 5)
    still[2] = np.nan
    write_embeddings(folder / "nan.parquet", embeddings(still, np.eye(4, 5)))
    assert "not finite" in search("--outliers", file=folder / "nan.parquet")[2]
    one = embeddings(np.eye(2, 5), np.eye(2, 5), paths=["/a.mp4"] * 2, video=[0, 0], window=2.0)
    write_embeddings(folder / "one.parquet", one)
    for what in (["--outliers"], ["--duplicates"]):
        assert "one video" in search(*what, file=folder / "one.parquet")[2]
    assert "--same-video shows" in search("--like", "a.mp4", file=folder / "one.parquet")[2]
    assert search("--like", "a.mp4", "--same-video", file=folder / "one.parquet")[0] == 0
