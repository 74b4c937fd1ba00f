"""How a step grows with the number of ranks: nothing faster than the gathered embeddings."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from bench import scale
from bodvcl.config.schema import ClipConfig, ModelConfig, TrainConfig

MODEL = ModelConfig(width=4, embed_dim=12, hidden_dim=16)
VIDEOS, VIEWS = 3, 2


def traffic(method: str, ranks: int, **options) -> scale.Traffic:
    config = TrainConfig(method=method, model=MODEL, clip=ClipConfig(frames=8, size=16), **options)
    config.moco.queue = 64
    return scale.step_traffic(config, VIDEOS, ranks)


@pytest.mark.parametrize("method", scale.METHODS)
def test_only_what_is_gathered_grows_and_no_faster_than_the_embeddings(method):
    few, many = traffic(method, 8), traffic(method, 64)
    assert many.messages == few.messages
    for purpose, sent in many.sent.items():
        allowed = (64 - 1) / (8 - 1) if purpose == "embeddings" else (63 / 64) / (7 / 8)
        assert sent <= 1.01 * allowed * few.sent[purpose], purpose
    assert many.held <= 64 / 8 * few.held


def test_one_rank_sends_nothing():
    assert not traffic("simclr", 1).messages
    assert not dist.is_initialized()


def test_clips_are_dealt_by_moco_and_statistics_shared_by_the_others():
    clips = VIDEOS * VIEWS * 3 * 8 * 16 * 16 * 4
    moco, simclr = traffic("moco", 8), traffic("simclr", 8)
    embeddings = VIDEOS * VIEWS * 8 * MODEL.embed_dim * 4
    assert moco.messages["shuffle"] == 2
    assert moco.sent["shuffle"] == round(7 / 8 * clips) + round(7 / 8 * embeddings)
    assert moco.messages["statistics"] < 10 < simclr.messages["statistics"]
    assert "shuffle" not in simclr.messages


def test_groups_of_one_machine_share_statistics_unless_told_otherwise():
    node, every = traffic("simclr", 64), traffic("simclr", 64, sync_norm_group="all")
    assert node.messages == every.messages
    assert (7 / 8) / (63 / 64) <= node.sent["statistics"] / every.sent["statistics"] < 0.95


def test_a_message_that_it_does_not_know_is_no_zero():
    with (
        scale.pretended(4),
        scale._Counted(),
        pytest.raises(ValueError, match=r"does not know .* broadcast_"),
    ):
        dist.broadcast(torch.zeros(3), 0)
    assert not dist.is_initialized()


def test_the_table_names_what_dominates(capsys):
    scale.main(["--backbone", "tiny", "--methods", "moco", "--ranks", "1", "8", "--videos", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")] == ["ranks", "1", "8"]
    assert lines[-1].endswith("| shuffle |")
