"""Gradients that are sent in parts during the backward pass: the same means, the same bits after a resume."""

from __future__ import annotations

import subprocess
import sys

import bucket_ranks
import pytest
import torch
from patience import PATIENCE

SENT = "sent before the last gradient came"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("buckets")
    running = [
        subprocess.Popen(
            [sys.executable, bucket_ranks.__file__, str(rank), str(folder)], stderr=subprocess.PIPE, text=True
        )
        for rank in range(bucket_ranks.RANKS)
    ]
    errors = [process.communicate(timeout=PATIENCE)[1] for process in running]
    assert [process.returncode for process in running] == [0] * bucket_ranks.RANKS, errors
    return [torch.load(folder / f"{rank}.pt") for rank in range(bucket_ranks.RANKS)]


def test_every_rank_has_the_mean(found):
    net = bucket_ranks.Net()
    for step in range(bucket_ranks.STEPS):
        each = [bucket_ranks.gradients(net, rank, step) for rank in range(bucket_ranks.RANKS)]
        for rank in range(bucket_ranks.RANKS):
            for name in each[0]:
                want = torch.stack([gradient[name].double() for gradient in each]).mean(0)
                got = found[rank][0][step][name]
                torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-7)
                assert torch.equal(got, found[0][0][step][name])


def test_parts_are_sent_before_the_backward_pass_ends(found):
    for steps in found:
        for step in steps[0]:
            first_pass, between, last_pass = step[SENT].tolist()
            assert first_pass == between == 0
            assert last_pass >= 2


def test_a_run_that_begins_later_gives_the_same_bits(found):
    for steps in found:
        for name, got in steps[2][0].items():
            assert torch.equal(got, steps[0][2][name]), name
