"""Parts of a batch: how it is cut, and that their gradients are averaged."""

from __future__ import annotations

import dataclasses
from dataclasses import fields

import pytest
import torch

from bodvcl.bilevel.solvers import Step
from bodvcl.config.parse import parse_config
from bodvcl.data.clips.batch import ClipBatch, ClipParams
from bodvcl.engine.parts import parts_of, videos_of
from bodvcl.engine.ranks import Ranks, World
from bodvcl.engine.step import step_gradient
from bodvcl.errors import ConfigError

ALONE = Ranks(World(), torch.device("cpu"))
VIEWS = 3


def batch(videos):
    rows = videos * VIEWS
    return ClipBatch(
        clips=torch.arange(rows).view(rows, 1, 1, 1, 1).to(torch.uint8),
        params=ClipParams(*[torch.arange(rows)] * len(fields(ClipParams))),
        videos=100 + torch.arange(videos),
        frames=torch.arange(rows)[:, None],
    )


@pytest.mark.parametrize(
    ("videos", "count", "sizes"),
    [(6, 1, [6]), (6, 3, [2, 2, 2]), (7, 3, [2, 2, 3]), (5, 3, [2, 3]), (1, 4, [1]), (3, 2, [3])],
)
def test_parts_hold_whole_videos_and_two_or_more(videos, count, sizes):
    parts = parts_of(batch(videos), count, VIEWS)
    assert [len(part.videos) for part in parts] == sizes
    assert torch.cat([part.videos for part in parts]).tolist() == list(range(100, 100 + videos))
    for part in parts:
        first = (part.videos[0].item() - 100) * VIEWS
        rows = list(range(first, first + len(part.videos) * VIEWS))
        assert part.clips.flatten().tolist() == part.frames.flatten().tolist() == rows
        for field in dataclasses.fields(part.params):
            assert getattr(part.params, field.name).tolist() == rows


def test_all_videos_of_a_batch_are_the_batch_itself():
    whole = batch(4)
    assert videos_of(whole, 0, 4, VIEWS) is whole
    assert videos_of(whole, 0, 2, VIEWS).clips.flatten().tolist() == list(range(6))


class Part:
    """Stands for the problem of a part of a batch."""

    def __init__(self, value):
        self.value = value
        self.log = {"loss_video": torch.tensor(value)}
        self.keys = {"video": torch.tensor([value])}
        self.streams = None


def solve(params, problem):
    gradient = {name: torch.full_like(p, problem.value) for name, p in params.items()}
    return Step(gradient, None, torch.tensor(10 * problem.value))


def test_gradients_and_losses_are_means_over_videos():
    params = {"w": torch.zeros(2, 3, 1, 4, 4).contiguous(memory_format=torch.channels_last_3d)}
    found = step_gradient(solve, params, [(0.25, Part(4.0)), (0.75, Part(8.0))], ALONE, None)
    assert torch.equal(found.gradient["w"], torch.full((2, 3, 1, 4, 4), 7.0))
    assert {name: v.item() for name, v in found.values.items()} == {"loss_video": 7.0, "loss": 70.0}
    assert [keys["video"].item() for keys in found.keys] == [4.0, 8.0]


def test_a_gradient_lies_in_memory_as_its_parameter():
    """A fused optimiser reads both in the order of memory."""
    weight = torch.zeros(4, 3, 2, 3, 3).contiguous(memory_format=torch.channels_last_3d)
    values = torch.arange(weight.numel(), dtype=torch.float32).view(4, 3, 2, 3, 3)
    found = step_gradient(
        lambda params, problem: Step({"w": values}, None, torch.tensor(0.0)),
        {"w": weight},
        [(1.0, Part(1.0))],
        ALONE,
        None,
    )
    assert found.gradient["w"].stride() == weight.stride()
    assert torch.equal(found.gradient["w"], values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--batch-size 10 --accumulate 4", "a batch of 10 videos cannot be cut into 4 equal parts"),
        (
            "--batch-size 8 --accumulate 8",
            "parts of 1 video have no negatives; set --accumulate to 4",
        ),
        ("--optim.fused apex", "only lamb"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(options.split())
