"""While a CUDA graph is captured, nothing is read from the device: what each operation leaves out then.

`capturing` is replaced, so that this runs without a GPU; the GPU tests capture a graph.
"""

from __future__ import annotations

import warnings

import pytest
import torch

import bodvcl
from bodvcl.ops import constants
from bodvcl.ops.contrastive import info_nce
from bodvcl.ops.koopman import KoopmanWarning, guard_counts, koopman_split, koopman_split_and_loss, vacuous

IDS = torch.arange(4).repeat_interleave(2)


@pytest.fixture
def captured(monkeypatch):
    for module in (
        "checks",
        "constants",
        "koopman.checks",
        "koopman.guard",
        "koopman.vacuous",
        "contrastive.norms",
        "distributed",
    ):
        monkeypatch.setattr(f"bodvcl.ops.{module}.capturing", lambda x: True)
    monkeypatch.setattr("bodvcl.losses.capturing", lambda x: True)
    monkeypatch.setattr(constants, "_made", {})


def clips() -> torch.Tensor:
    return torch.randn(8, 6, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_values_are_not_checked(captured):
    x = clips().detach()
    x[3, 2, 1] = torch.nan
    assert koopman_split(x, check_finite=True).nonfinite.nonzero().flatten().tolist() == [3]
    z = x.mean(1).expand(2, 8, 8)
    assert info_nce(z, z, query_video=IDS, key_video=IDS).isnan().all()
    one_video = torch.zeros(8, dtype=torch.int64)
    assert bodvcl.DecoupledInfoNCE()(clips(), one_video)["static"].isfinite()


def test_nobody_warns(captured):
    vacuous._warned.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error", KoopmanWarning)
        koopman_split_and_loss(clips(), mode="train", ridge=0)
    assert not vacuous._warned


def test_constants_belong_to_the_graph_and_the_result_is_the_same(captured, monkeypatch):
    def gradient() -> torch.Tensor:
        x = clips()
        split, losses = koopman_split_and_loss(x, max_gain=0.5)
        (split.static.sum() + losses.pred).backward()
        assert x.grad is not None
        return x.grad

    got = gradient()
    assert not constants._made
    monkeypatch.undo()
    assert torch.equal(got, gradient())


def test_replays_go_on_counting_after_a_reset():
    def backward() -> None:
        koopman_split(clips(), max_gain=0.5).static.sum().backward()

    backward()
    counters = [x.data_ptr() for x in _counts()]
    guard_counts(reset=True)
    assert guard_counts() == (0, 0)
    backward()
    assert [x.data_ptr() for x in _counts()] == counters
    assert guard_counts().clips == 8


def _counts() -> list[torch.Tensor]:
    from bodvcl.ops.koopman import guard

    return [counter.counts for counter in guard._counters.values()]


def test_another_stream_waits_for_a_constant_until_it_was_seen_to_be_filled(monkeypatch):
    class Event:
        done = False

        def query(self) -> bool:
            return self.done

    waited = []

    class Stream:
        def wait_event(self, event: Event) -> None:
            waited.append(event)

    key = (0.75, torch.float32, torch.device("cpu"))
    constants.constant(*key)
    event = Event()
    monkeypatch.setitem(constants._under_way, key, event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    assert constants.constant(*key) == 0.75
    Event.done = True
    assert constants.constant(*key) == 0.75
    assert waited == [event]
    assert key not in constants._under_way
