"""Batches come in order and unchanged, one ahead of their use where that helps."""

from __future__ import annotations

import threading

import pytest
import torch

from bodvcl.config.schema import AugmentConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.batch import ClipBatch, ClipParams
from bodvcl.engine.upload import one_ahead, uploaded


def batch(number: int) -> ClipBatch:
    g = torch.Generator().manual_seed(number)
    clips = torch.randint(0, 256, (4, 4, 16, 16, 3), generator=g, dtype=torch.uint8)
    params = ClipParams(
        colour=torch.randn(4, 3, 4, generator=g),
        flip=torch.rand(4, generator=g) > 0.5,
        sigma=torch.rand(4, generator=g),
        share=torch.rand(4, generator=g),
        donor=torch.rand(4, 2, generator=g),
    )
    return ClipBatch(clips, params, torch.tensor([number, number + 1]), torch.zeros(4, 4))


def test_results_come_in_order_while_the_next_is_made_by_a_thread():
    asked, threads = [], set()

    def items():
        for number in range(5):
            asked.append(number)
            yield number

    def work(number):
        threads.add(threading.current_thread())
        return 10 * number

    for place, result in enumerate(one_ahead(items(), work)):
        assert result == 10 * place
        assert asked == list(range(min(place + 2, 5)))  # one more, and not two
    assert threading.current_thread() not in threads
    assert list(one_ahead([], work)) == []


def test_errors_of_both_sides_reach_the_user():
    def items():
        yield 1
        raise KeyError("a broken source")

    with pytest.raises(KeyError, match="a broken source"):
        list(one_ahead(items(), str))
    results = one_ahead([1, 0, 2], lambda x: 1 // x)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_on_a_cpu_nothing_is_copied_and_nothing_asked_for_ahead():
    made = []

    def batches():
        for number in range(3):
            made.append(batch(number))
            yield made[-1]

    for count, found in enumerate(uploaded(batches(), torch.device("cpu")), 1):
        assert found is made[-1]
        assert len(made) == count
    assert list(uploaded(iter([]), torch.device("cpu"))) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gets_the_same_clips_without_a_wait():
    device, augment = torch.device("cuda", torch.cuda.current_device()), AugmentConfig()
    want = [finish(batch(n), augment, device) for n in range(6)]
    found = []
    for one in uploaded((batch(n) for n in range(6)), device):
        assert one.clips.is_cuda
        assert one.params.colour.is_pinned()
        torch.cuda.set_sync_debug_mode("error")
        try:
            found.append(finish(one, augment, device))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for number, (got, expected) in enumerate(zip(found, want, strict=True)):
        assert torch.equal(got, expected), number
