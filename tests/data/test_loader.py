"""Batches are functions of (seed, epoch, step): workers, resuming and bad files change nothing else."""

from __future__ import annotations

import faulthandler
import itertools
import logging
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from growth import growth, needs_proc
from patience import PATIENCE, wait_until
from replaced import assert_replaced
from video_files import read_barcode

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.scan import scan
from bodvcl.data.sources import kept_frames
from bodvcl.data.sources.evaluation import evaluation_clips
from bodvcl.data.sources.pyav_clips import decode_size
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.errors import DataError

CLIP = ClipConfig(frames=4, stride=2, views=2, size=16)
WHOLE = AugmentConfig(crop_area=(1.0, 1.0), crop_aspect=(80 / 48, 80 / 48), flip=0.0, jitter=0.0)


@pytest.fixture(scope="module")
def videos(video_folder):
    return scan(video_folder, clip=CLIP, progress=False).videos


@pytest.fixture
def breakable(video_folder, tmp_path):
    """The videos of a copy that a test may damage."""
    shutil.copytree(video_folder, tmp_path / "copy")
    return scan(tmp_path / "copy", clip=CLIP, progress=False).videos


def loader_of(
    videos, *, workers=0, batch_size=4, clip=CLIP, augment=None, seed=0, max_bad=0.01, timeout=None
) -> PyAVSource:
    return PyAVSource(
        ClipPlan(videos, clip, augment or AugmentConfig(blur=0.5), batch_size=batch_size, seed=seed),
        workers=workers,
        max_bad=max_bad,
        timeout=timeout,
    )


def same(a: ClipBatch, b: ClipBatch) -> bool:
    return (
        torch.equal(a.clips, b.clips)
        and torch.equal(a.videos, b.videos)
        and torch.equal(a.frames, b.frames)
        and all(torch.equal(getattr(a.params, n), getattr(b.params, n)) for n in ("colour", "flip", "sigma"))
        and (a.epoch, a.step) == (b.epoch, b.step)
    )


def test_shapes_and_order(videos):
    loader = loader_of(videos, batch_size=5)
    assert loader.steps_per_epoch == 2
    batches = [batch for epoch in range(2) for batch in loader.epoch(epoch)]
    assert [(batch.epoch, batch.step) for batch in batches] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for batch in batches:
        assert batch.clips.shape == (10, 4, 16, 16, 3)
        assert batch.clips.dtype == torch.uint8
        assert batch.frames.shape == (10, 4)
        assert batch.params.colour.shape == (10, 3, 4)
    for first, second in (batches[:2], batches[2:]):
        assert len({*first.videos.tolist(), *second.videos.tolist()}) == 10
    assert batches[0].videos.tolist() != batches[2].videos.tolist()


def test_clips_hold_the_frames_that_were_drawn(videos):
    clip = ClipConfig(frames=4, stride=3, views=3, size=80)
    for batch in loader_of(videos, clip=clip, augment=WHOLE).epoch(0):
        for row, numbers in zip(batch.clips, batch.frames.tolist()):
            assert [read_barcode(image.numpy()) for image in row] == numbers
        lengths = [videos[v].frames for v in batch.videos.tolist() for _ in range(3)]
        assert all(numbers[-1] < length for numbers, length in zip(batch.frames.tolist(), lengths))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(videos, workers):
    alone, helped = loader_of(videos), loader_of(videos, workers=workers)
    try:
        for epoch in range(2):
            pairs = list(zip(alone.epoch(epoch), helped.epoch(epoch), strict=True))
            assert len(pairs) == 3
            assert all(same(a, b) for a, b in pairs)
    finally:
        helped.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_gives_the_uninterrupted_batches(videos, workers):
    whole = [batch for epoch in range(3) for batch in loader_of(videos).epoch(epoch)]
    resumed = loader_of(videos, workers=workers)
    try:
        later = list(resumed.epoch(1, start_step=2)) + list(resumed.epoch(2))
        assert all(same(a, b) for a, b in zip(whole[5:], later, strict=True))
        next(resumed.epoch(0))
        again = list(resumed.epoch(1))
        assert all(same(a, b) for a, b in zip(whole[3:6], again, strict=True))
    finally:
        resumed.close()


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_shares_of_all_ranks_are_the_batch_of_one(videos, world_size):
    ranks = [
        PyAVSource(
            ClipPlan(videos, CLIP, AugmentConfig(), batch_size=4, seed=0, rank=r, world_size=world_size),
            workers=0,
        )
        for r in range(world_size)
    ]
    alone = loader_of(videos, augment=AugmentConfig())
    assert all(rank.steps_per_epoch == alone.steps_per_epoch for rank in ranks)
    for epoch, start in ((0, 0), (1, 2)):
        for whole, *shares in zip(
            alone.epoch(epoch, start), *(r.epoch(epoch, start) for r in ranks), strict=True
        ):
            for name in ("clips", "videos", "frames"):
                assert torch.equal(torch.cat([getattr(s, name) for s in shares]), getattr(whole, name))
            assert torch.equal(torch.cat([s.params.colour for s in shares]), whole.params.colour)


def test_a_share_without_a_readable_video_stops(breakable):
    loader = PyAVSource(
        ClipPlan(breakable, CLIP, AugmentConfig(), batch_size=12, seed=0, rank=1, world_size=12), workers=0
    )
    (only,) = next(loader.epoch(0)).videos.tolist()
    os.remove(breakable[only].path)
    with pytest.raises(DataError, match=r"only 0 of 1 videos .*no such file"):
        next(loader.epoch(0))


def test_seed_changes_the_batches(videos):
    first, second = next(loader_of(videos).epoch(0)), next(loader_of(videos, seed=1).epoch(0))
    assert not torch.equal(first.clips, second.clips)


@pytest.mark.parametrize("workers", [0, 1])
def test_another_video_replaces_an_unreadable_one_that_is_named_once(breakable, workers, caplog):
    whole = [batch for epoch in range(2) for batch in loader_of(breakable).epoch(epoch)]
    bad = 5
    os.truncate(breakable[bad].path, 0)
    loader = loader_of(breakable, workers=workers)
    try:
        with caplog.at_level(logging.WARNING):
            batches = [batch for epoch in range(2) for batch in loader.epoch(epoch)]
    finally:
        loader.close()
    assert loader.failed == {breakable[bad].path: "empty file (0 bytes)"}
    assert sum(breakable[bad].path in record.message for record in caplog.records) == 1
    replaced = [assert_replaced(before, after, bad) for before, after in zip(whole, batches, strict=True)]
    assert sum(replaced) == 2
    again = loader_of(breakable)
    assert all(same(a, b) for a, b in zip(batches[3:], again.epoch(1), strict=True))


def test_no_process_replaces_by_a_video_of_another(breakable):
    """Two bad videos on two processes: their places go to two others, and shares stay equal."""
    order = loader_of(breakable).plan.indices(0, 0)
    for number in (order[0], order[3]):
        os.truncate(breakable[number].path, 0)
    ranks = [
        PyAVSource(
            ClipPlan(breakable, CLIP, AugmentConfig(), batch_size=4, seed=0, rank=rank, world_size=2),
            workers=0,
        )
        for rank in range(2)
    ]
    for shares in zip(*(rank.epoch(0) for rank in ranks), strict=True):
        assert [len(share.videos) for share in shares] == [2, 2]
        seen = torch.cat([share.videos for share in shares]).tolist()
        assert len(set(seen)) == 4
        assert not {order[0], order[3]} & set(seen)


def test_where_no_other_video_is_left_a_batch_is_smaller(breakable):
    os.truncate(breakable[5].path, 0)
    (batch,) = loader_of(breakable, batch_size=12).epoch(0)
    assert sorted(batch.videos.tolist()) == [*range(5), *range(6, 12)]
    plan = ClipPlan(breakable, CLIP, AugmentConfig(), batch_size=12, seed=0, rank=0, world_size=2)
    ranks = [PyAVSource(replace(plan, rank=rank), workers=0) for rank in range(2)]
    message = r"only 5 of 6 videos of a batch can be read, and no other .* lower --batch-size"
    with pytest.raises(DataError, match=message):
        [next(rank.epoch(0)) for rank in ranks]


@pytest.mark.parametrize("left", [0, 1])
def test_batch_without_negatives_stops(breakable, left):
    loader = loader_of(breakable, batch_size=12)
    for video in breakable[left:]:
        os.remove(video.path)
    with pytest.raises(DataError, match=rf"only {left} of 12 videos.*no such file"):
        next(loader.epoch(0))


def test_more_videos_wanted_than_there_are(videos):
    with pytest.raises(DataError, match=r"batch of 13 .* 12 usable videos"):
        loader_of(videos, batch_size=13)
    with pytest.raises(ValueError, match="batch_size is 1"):
        loader_of(videos, batch_size=1)


def test_dead_worker_is_reported_and_replaced(videos):
    loader = loader_of(videos, workers=2)
    try:
        batches = itertools.chain.from_iterable(loader.epoch(epoch) for epoch in range(100))
        first = next(batches)
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(DataError, match=r"decoding process died \(killed by signal SIGKILL\) at step"):
            list(batches)
        assert same(next(loader.epoch(0)), first)
    finally:
        loader.close()


def test_file_that_kills_its_reader_is_named(videos, monkeypatch):
    def crash(info, *rest):
        if info.path == videos[7].path:
            os.kill(os.getpid(), signal.SIGKILL)
        return read_frames(info, *rest)

    monkeypatch.setattr(kept_frames, "read_frames", crash)
    loader = loader_of(videos, workers=2)
    try:
        with pytest.raises(DataError, match=r"SIGKILL.* it was reading .*" + re.escape(videos[7].path)):
            list(loader.epoch(0))
    finally:
        loader.close()


def test_file_that_crashes_its_reader_is_replaced(videos, monkeypatch):
    def crash(info, *rest):
        if info.path == videos[7].path:
            faulthandler.disable()
            os.kill(os.getpid(), signal.SIGSEGV)
        return read_frames(info, *rest)

    whole = [batch for epoch in range(2) for batch in loader_of(videos).epoch(epoch)]
    monkeypatch.setattr(kept_frames, "read_frames", crash)
    loader = loader_of(videos, workers=2)
    try:
        batches = [batch for epoch in range(2) for batch in loader.epoch(epoch)]
    finally:
        loader.close()
    assert loader.failed == {videos[7].path: "crashes the decoder (SIGSEGV)"}
    replaced = [assert_replaced(before, after, 7) for before, after in zip(whole, batches, strict=True)]
    assert sum(replaced) == 2


@pytest.mark.slow
def test_file_that_hangs_its_reader_is_replaced(videos, monkeypatch):
    def hang(info, *rest):
        if info.path == videos[7].path:
            time.sleep(3600)
        return read_frames(info, *rest)

    monkeypatch.setattr(kept_frames, "read_frames", hang)
    loader = loader_of(videos, workers=2, timeout=15)
    try:
        seen = [batch.videos.tolist() for epoch in range(3) for batch in loader.epoch(epoch)]
    finally:
        loader.close()
    assert loader.failed == {videos[7].path: "not decoded within 15 seconds (--decode.timeout)"}
    for first in (0, 3, 6):
        batches = seen[first : first + 3]
        assert [len(set(batch)) for batch in batches] == [4, 4, 4]
        assert set(itertools.chain.from_iterable(batches)) == {*range(7), *range(8, 12)}


def test_too_many_unreadable_files_stop_the_run(breakable):
    for video in breakable[3:6]:
        os.truncate(video.path, 0)
    allowed = loader_of(breakable, batch_size=6, max_bad=0.25)
    assert [len(set(batch.videos.tolist())) for batch in allowed.epoch(0)] == [6, 6]
    refused = loader_of(breakable, batch_size=6, max_bad=0.2)
    message = r"3 of 12 videos .* --decode.max-bad 0.2 allows 2: .*part.*: empty file \(0 bytes\); .*repair"
    with pytest.raises(DataError, match=message):
        list(refused.epoch(0))


def test_one_unreadable_file_is_tolerated_unless_none_is(breakable):
    os.truncate(breakable[3].path, 0)
    assert [len(batch.videos) for batch in loader_of(breakable).epoch(0)] == [4, 4, 4]
    with pytest.raises(DataError, match=r"1 of 12 videos .* --decode.max-bad 0 allows 0"):
        list(loader_of(breakable, max_bad=0.0).epoch(0))


def test_a_defect_in_a_worker_is_shown_with_its_traceback(videos):
    loader = loader_of([*videos[:11], None], batch_size=12, workers=1)
    try:
        with pytest.raises(RuntimeError, match=r"in a decoding process:(.|\n)*AttributeError.*NoneType"):
            next(loader.epoch(0))
    finally:
        loader.close()


def test_forgotten_workers_do_not_keep_the_program_from_ending(video_folder):
    code = (
        "from bodvcl.config.schema import AugmentConfig, ClipConfig\n"
        "from bodvcl.data.clips.plan import ClipPlan\n"
        "from bodvcl.data.files.scan import scan\n"
        "from bodvcl.data.sources.pyav_source import PyAVSource\n"
        f"videos = scan({str(video_folder)!r}, clip=ClipConfig(), progress=False).videos\n"
        "plan = ClipPlan(videos, ClipConfig(), AugmentConfig(), batch_size=4, seed=0)\n"
        "loader = PyAVSource(plan, workers=2)\n"
        "batches = loader.epoch(0)\n"
        "print(len(next(batches).videos))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr
    assert "Traceback" not in done.stderr


def test_signals_are_left_to_the_main_process(videos):
    loader = loader_of(videos, workers=2)
    try:
        batches = loader.epoch(0)
        next(batches)
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGINT)
            os.kill(child.pid, signal.SIGTERM)
        assert len(list(batches)) + len(list(loader.epoch(1))) == 5
        assert len(multiprocessing.active_children()) == 2
    finally:
        loader.close()
    wait_until(lambda: not multiprocessing.active_children())


def test_evaluation_clips(videos):
    clip = ClipConfig(frames=4, stride=3, size=16)
    runs = [list(evaluation_clips(videos, clip, clips_per_video=3, batch_size=5)) for _ in range(2)]
    assert [batch.videos.tolist() for batch in runs[0]] == [list(range(5)), list(range(5, 10)), [10, 11]]
    assert runs[0][2].clips.shape == (6, 4, 16, 16, 3)
    assert all(same(a, b) for a, b in zip(*runs))
    assert torch.equal(runs[0][0].params.colour, torch.eye(3, 4).expand(15, 3, 4))


def test_evaluation_leaves_out_what_cannot_be_read(breakable, caplog):
    os.truncate(breakable[1].path, 0)
    os.truncate(breakable[11].path, 0)
    with caplog.at_level(logging.WARNING):
        batches = list(evaluation_clips(breakable, CLIP, batch_size=11))
    assert [batch.videos.tolist() for batch in batches] == [[0, *range(2, 11)]]
    assert len(caplog.records) == 2


def test_only_very_large_videos_are_decoded_small(videos):
    clip, large = ClipConfig(size=16), replace(videos[0], height=480, width=800)
    assert decode_size(videos[0], clip, 1.0) == (48, 80)
    assert decode_size(large, clip, 1.0) == (16, 27)
    assert decode_size(large, clip, 0.25) == (32, 53)
    assert decode_size(large, ClipConfig(size=121), 1.0) == (480, 800)


@pytest.mark.slow
@needs_proc
def test_memory_does_not_grow_over_epochs(videos):
    loader = loader_of(videos)
    epochs = 10

    def train(number: int) -> None:
        for epoch in range(number * epochs, (number + 1) * epochs):
            for _ in loader.epoch(epoch):
                pass

    clips, frame = 2 * len(videos), 80 * 48 * 3
    assert growth(train, 30) < epochs * clips * frame / 4  # one frame per four clips; a decoder is 100 KB
