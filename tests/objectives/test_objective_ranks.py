"""Averaged over two ranks, losses, gradients and states are those of one rank with the whole batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import objective_ranks
import pytest
import torch
from patience import PATIENCE

from bodvcl.models.momentum import shuffle_order

METHODS = ("simclr", "moco", "byol", "swav", "dualvar", "hdc")


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(objective_ranks.__file__)
    running = [
        subprocess.Popen([sys.executable, script, str(rank), str(folder)], stderr=subprocess.PIPE, text=True)
        for rank in range(objective_ranks.RANKS)
    ]
    errors = [process.communicate(timeout=PATIENCE)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    return [torch.load(folder / f"{rank}.pt") for rank in range(objective_ranks.RANKS)]


@pytest.fixture(scope="module")
def one_rank() -> dict:
    return objective_ranks.compute(0, 1)


@pytest.mark.parametrize("method", METHODS)
def test_two_ranks_equal_one(two_ranks, one_rank, method):
    names = [name for name in one_rank if name.startswith(method)]
    assert len(names) > 3
    for rank in two_ranks:
        for name in names:
            torch.testing.assert_close(
                rank[name], one_rank[name], rtol=1e-9, atol=1e-11, msg=lambda text, n=name: f"{n}: {text}"
            )


def test_the_states_of_both_ranks_are_the_same_bits(two_ranks):
    first, second = two_ranks
    states = [name for name in first if "queue" in name or "invariance" in name]
    assert len(states) == 3, "keys, count, invariance"
    for name in states:
        assert torch.equal(first[name], second[name]), name


def test_the_queue_holds_the_keys_in_the_order_of_the_ranks(two_ranks, one_rank):
    for rank in two_ranks:
        assert int(rank["moco queue.count"]) == 36
        torch.testing.assert_close(rank["moco queue.keys"], one_rank["moco queue.keys"], rtol=0, atol=1e-12)


def test_clips_are_dealt_over_the_ranks_and_rows_dealt_back(two_ranks):
    rows = torch.arange(16, dtype=torch.float32)
    seen = torch.cat([rank["seen"] for rank in two_ranks])
    assert torch.equal(seen.sort().values, rows)
    assert not torch.equal(seen, rows)
    for number, rank in enumerate(two_ranks):
        assert torch.equal(rank["back"][:, 0], 2 * rows[8 * number : 8 * number + 8])
        assert torch.equal(rank["clips back"], 2 * rank["clips"])
    every = torch.cat([rank["clips"] for rank in two_ranks])
    encoded = torch.cat([rank["seen clips"] for rank in two_ranks])
    order = shuffle_order(0, 6, len(every)).view(2, -1)
    for row, own in zip(order, encoded.split(8)):
        assert sorted(own.sum((1, 2, 3, 4)).tolist()) == sorted(every[row].sum((1, 2, 3, 4)).tolist())


def test_the_permutation_is_a_function_of_seed_and_step():
    orders = [shuffle_order(seed, step, 12).tolist() for seed in (0, 1) for step in (0, 1)]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert shuffle_order(1, 1, 12).tolist() == orders[3]
