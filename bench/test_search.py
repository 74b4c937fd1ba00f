"""How long `bodvcl search` and `bodvcl serve` take to find the nearest rows of a large file.

Rows are made: clusters in 512 dimensions whose members differ in 64 directions and by noise, other clusters
for appearance than for motion, vectors of unit length. `exact`: the query is compared with every row.
`codes`: 4-bit codes of all rows choose first. Asserted before it is timed: scores are exact, and of the ten
nearest rows (on average over 40 queries) 95% are found. `recall`, `milliseconds` (median and 90th
percentile over the queries) and `cpu_milliseconds` (median processor time, for a machine with other work) are
beside the ratio. BODVCL_BENCH_FULL=1 takes a million rows (12 GB of memory) in place of 100,000.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from bodvcl.embed.file import About, Embeddings
from bodvcl.search import space as space_module
from bodvcl.search.space import Space

pytest.importorskip("faiss")

ROWS = 1_000_000 if os.environ.get("BODVCL_BENCH_FULL") == "1" else 100_000
WIDTH, DIRECTIONS, QUERIES, COUNT = 512, 64, 40, 10
CLUSTERS = {"still": ROWS // 1000, "dynamic": ROWS // 5000}
WEIGHTS = (0.0, 0.2, 0.5, 0.8, 1.0)
AT_ONCE = 50_000


def clustered(clusters: int, seed: int) -> np.ndarray:
    """Float32 unit rows (ROWS, WIDTH)."""
    rng = np.random.default_rng(seed)

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    centres, directions = unit(rng.normal(size=(clusters, WIDTH))), unit(rng.normal(size=(DIRECTIONS, WIDTH)))
    made = np.empty((ROWS, WIDTH), np.float32)
    for start in range(0, ROWS, AT_ONCE):
        rows = made[start : start + AT_ONCE]
        inside = rng.normal(size=(len(rows), DIRECTIONS)) * 0.7 / np.sqrt(DIRECTIONS)
        noise = rng.normal(size=rows.shape) * 0.3 / np.sqrt(WIDTH)
        rows[:] = unit(centres[rng.integers(0, clusters, len(rows))] + inside @ directions + noise)
    return made


@pytest.fixture(scope="module")
def spaces() -> dict[str, Space]:
    """The same rows without and with codes."""
    none, number = np.full(ROWS, -1), np.arange(ROWS)
    vectors = {kind: clustered(count, seed) for seed, (kind, count) in enumerate(CLUSTERS.items())}
    about = About("0", "/run", "", 0, "", "bod", None, 1, {}, [], dict.fromkeys(vectors, WIDTH))
    start = number.astype(np.float64)
    rows = Embeddings([""] * ROWS, number, start, start, none, none, {}, vectors, about)
    exact = Space(rows, many_queries=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            space_module, "Looks", lambda vectors: lambda vectors: exact.units
        )  # memory for one is enough
        patch.setattr(space_module, "LARGE", ROWS)
        return {"exact": exact, "codes": Space(rows)}


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("route", ["exact", "codes"])
def test_the_nearest_rows(benchmark, spaces, route, weight):
    space, exact = spaces[route], spaces["exact"]
    queries = np.random.default_rng(9).permutation(ROWS)[:QUERIES].tolist()
    recall, seconds, work = [], [], []
    for row in queries:
        start, before = time.perf_counter(), time.process_time()
        hits = space.near_row(row, weight, COUNT)
        seconds.append(time.perf_counter() - start)
        work.append(time.process_time() - before)
        truth = {hit.row for hit in exact.near_row(row, weight, COUNT)}
        recall.append(len(truth & {hit.row for hit in hits}) / COUNT)
        for hit in hits:
            look, move = (float(units[hit.row] @ units[row]) for units in exact.units.values())
            assert hit.score == pytest.approx((1 - weight) * look + weight * move, abs=1e-5)
    assert np.mean(recall) >= (0.95 if route == "codes" else 1)
    benchmark.group = f"search, {ROWS:,} rows of 2 x {WIDTH}, weight of motion {weight:g}"
    benchmark.extra_info["route"] = route
    benchmark.extra_info["recall"] = float(np.mean(recall))
    benchmark.extra_info["milliseconds"] = (1e3 * np.quantile(seconds, [0.5, 0.9])).round(2).tolist()
    benchmark.extra_info["cpu_milliseconds"] = round(1e3 * float(np.median(work)), 2)
    turn = iter(queries * 100)
    benchmark.pedantic(lambda: space.near_row(next(turn), weight, COUNT), rounds=QUERIES)
