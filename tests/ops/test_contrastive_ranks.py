from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import contrastive_ranks
import pytest
import torch
from patience import PATIENCE

from bodvcl.ops.distributed import gather, info_nce_gathered, world_size


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(contrastive_ranks.__file__)
    running = [
        subprocess.Popen([sys.executable, script, str(rank), str(folder)], stderr=subprocess.PIPE, text=True)
        for rank in range(contrastive_ranks.RANKS)
    ]
    errors = [process.communicate(timeout=PATIENCE)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    return [torch.load(folder / f"{rank}.pt") for rank in range(contrastive_ranks.RANKS)]


@pytest.mark.parametrize("backend", ["torch", "chunked"])
def test_two_ranks_equal_one(two_ranks, backend):
    one = contrastive_ranks.compute(0, 1, backend)
    for rank in two_ranks:
        for name in ("loss", "grad"):
            torch.testing.assert_close(rank[backend][name], one[name], rtol=1e-9, atol=1e-10)
    assignments = torch.cat([rank[backend]["assignments"] for rank in two_ranks], 1)
    torch.testing.assert_close(assignments, one["assignments"], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(two_ranks[0][backend]["swav"], one["swav"], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("backend", ["torch", "chunked"])
def test_derivatives_by_torch_func_over_two_ranks_equal_those_of_one(two_ranks, backend):
    one = contrastive_ranks.transforms(0, 1, backend)
    assignments = one.pop("assignments")
    for rank in two_ranks:
        for name, want in one.items():
            torch.testing.assert_close(
                rank["transforms"][backend][name], want, rtol=1e-9, atol=1e-10, msg=name
            )
    found = torch.cat([rank["transforms"][backend]["assignments"] for rank in two_ranks], 1)
    torch.testing.assert_close(found, assignments, rtol=1e-9, atol=1e-10)


def test_ranks_with_different_numbers_of_rows_are_refused(two_ranks):
    for rank in two_ranks:
        assert "query has [4, 5] rows, by rank; expected the same number" in rank["uneven"]


def test_without_a_process_group_there_is_one_rank():
    x = torch.randn(2, 6, 3, requires_grad=True)
    assert world_size() == 1
    assert gather(x) is x
    with pytest.raises(ValueError, match="normalize is False; expected True with valid"):
        info_nce_gathered(
            x, x, video=torch.arange(6), valid=torch.ones(2, 6, dtype=torch.bool), normalize=False
        )
