"""Rows that look alike or move alike are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_embeddings import embeddings, looks_and_movements, mixture
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize, scale

from bodvcl.embed.file import read_embeddings, write_embeddings
from bodvcl.errors import DataError
from bodvcl.search import space as space_module
from bodvcl.search.looks import NEEDED
from bodvcl.search.space import Space, open_space


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_embeddings(tmp_path / "e.parquet", looks_and_movements())
    return tmp_path / "e.parquet"


def test_by_appearance_and_by_motion_find_different_videos(file: Path) -> None:
    space = open_space(file)
    assert {hit.row for hit in space.near_row(5, 0, 3)} == {4, 6, 7}
    assert {hit.row for hit in space.near_row(5, 1, 2)} == {1, 9}
    best = space.near_row(5, 0.5, 11)
    assert {hit.row for hit in best[:5]} == {4, 6, 7, 1, 9}
    assert len(best) == 11
    assert all(hit.score == pytest.approx((hit.appearance + hit.motion) / 2) for hit in best)


def test_a_video_of_the_file_given_as_a_query_finds_itself_first(file: Path) -> None:
    space = open_space(file)
    vectors = read_embeddings(file, NEEDED).vectors
    query = space.query({kind: rows[7] for kind, rows in vectors.items()})
    first = space.near(query, 0.5, 1)[0]
    assert first.row == 7
    assert first.score == pytest.approx(1, abs=1e-5)


def test_other_windows_of_the_video_are_left_out_unless_wanted() -> None:
    space = Space(looks_and_movements(video=[row // 2 for row in range(12)], window=2.0))
    assert 4 not in {hit.row for hit in space.near_row(5, 0, 12)}
    assert 4 in {hit.row for hit in space.near_row(5, 0, 3, same_video=True)}


@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 1])
def test_hits_are_those_of_all_scores_in_order(weight: float) -> None:
    rows = mixture(3000, (20, 12))
    space = Space(rows)
    still, dynamic = (scale(rows.vectors[kind].astype(np.float64)) for kind in ("still", "dynamic"))
    told = Ridge(alpha=3000 + 4 * 20, fit_intercept=False).fit(still, dynamic).predict(still)
    unit = [normalize(still), normalize(dynamic - told)]
    truth = (1 - weight) * unit[0] @ unit[0][17] + weight * unit[1] @ unit[1][17]
    hits = space.near_row(17, weight, 10)
    assert [hit.row for hit in hits] == [row for row in np.argsort(-truth).tolist() if row != 17][:10]
    np.testing.assert_allclose([hit.score for hit in hits], [truth[hit.row] for hit in hits], atol=1e-5)
    joint = space.joint(weight)
    np.testing.assert_allclose(joint @ joint[17], truth, atol=1e-5)


@pytest.fixture(scope="module")
def plain_and_coded() -> tuple[Space, Space]:
    """Two spaces of the same rows, without and with codes."""
    rows = mixture(8000, (150, 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space_module, "LARGE", 8000)
        return Space(rows, many_queries=False), Space(rows)


@pytest.mark.parametrize("weight", [0, 0.2, 0.5, 1])
def test_with_codes_the_same_rows_are_found_with_exact_scores(
    weight: float, plain_and_coded: tuple[Space, Space]
) -> None:
    plain, coded = plain_and_coded
    found = shared = 0
    for row in range(0, 8000, 400):
        ours, truth = coded.near_row(row, weight, 10), plain.near_row(row, weight, 10)
        exact = plain.joint(weight) @ plain.joint(weight)[row]
        np.testing.assert_allclose([hit.score for hit in ours], exact[[hit.row for hit in ours]], atol=1e-6)
        assert [hit.score for hit in ours] == sorted((hit.score for hit in ours), reverse=True)
        found += len(truth)
        shared += len({hit.row for hit in ours} & {hit.row for hit in truth})
    assert shared >= 0.99 * found
    assert len(coded.near_row(0, weight, 700)) == 700


def test_with_codes_rows_that_are_left_out_are_made_up_for(plain_and_coded: tuple[Space, Space]) -> None:
    plain, coded = plain_and_coded
    query = {name: units[3] for name, units in plain.units.items()}
    first = np.array([hit.row for hit in plain.near(query, 0.5, 100)])
    assert coded.near(query, 0.5, 10, first)[0] == pytest.approx(plain.near(query, 0.5, 10, first)[0])


def test_without_faiss_a_line_says_so_and_the_search_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_module, "LARGE", 12)
    monkeypatch.setattr(space_module, "faiss_is_there", lambda: False)
    with pytest.warns(UserWarning, match=r"pip install bodvcl\[search\]"):
        space = Space(looks_and_movements())
    assert space.near_row(5, 0.5, 12) == Space(looks_and_movements(), many_queries=False).near_row(5, 0.5, 12)


def test_what_cannot_be_searched_is_refused() -> None:
    still, dynamic = np.ones((3, 2)), np.ones((3, 2))
    still[1, 0] = np.nan
    with pytest.raises(
        DataError, match=r"1 row with a still vector that is not finite, first that of /videos/1\.mp4"
    ):
        Space(embeddings(still, dynamic))
    with pytest.raises(DataError, match="no row"):
        Space(embeddings(np.ones((0, 2)), np.ones((0, 2))))
    space = Space(looks_and_movements())
    with pytest.raises(DataError, match="dynamic vector of the query is not finite"):
        space.query({"still": np.ones(3, np.float32), "dynamic": np.full(4, np.inf, np.float32)})
