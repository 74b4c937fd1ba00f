"""What shows only over many files: memory that grows, and a hundred bad files among a thousand."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from growth import growth, needs_proc
from video_files import varied_copy, write_video

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.scan import scan
from bodvcl.data.sources.pyav_source import PyAVSource

pytestmark = pytest.mark.slow

CLIP = ClipConfig(frames=3, stride=1, views=2, size=16)


def copies(folder: Path, count: int) -> list:
    """A thousand files, a few kilobytes each."""
    sources = [write_video(folder / "source" / f"{length}.mp4", length) for length in (6, 8, 10)]
    for number in range(count):
        varied_copy(sources[number % 3], folder / "many" / f"{number:04d}.mp4")
    return scan(folder / "many", clip=CLIP, progress=False).videos


def damage(path: str, number: int) -> None:
    """Gone, empty, cut in half, text, or zeros in its middle."""
    kind, size = number % 5, os.path.getsize(path)
    if kind == 0:
        os.remove(path)
    elif kind == 1:
        os.truncate(path, 0)
    elif kind == 2:
        os.truncate(path, size // 2)
    elif kind == 3:
        Path(path).write_text("not a video\n" * 20)
    else:
        data = Path(path).read_bytes()
        middle = data.index(b"mdat") + 4
        Path(path).write_bytes(data[:middle] + bytes(size - middle))


def test_a_hundred_bad_files_among_a_thousand_are_replaced_and_named(tmp_path, caplog):
    videos = copies(tmp_path, 1000)
    bad = {videos[number * 10 + number % 7].path: number for number in range(100)}
    for path, number in bad.items():
        damage(path, number)
    loader = PyAVSource(
        ClipPlan(videos, CLIP, AugmentConfig(), batch_size=20, seed=0), workers=2, timeout=300, max_bad=0.2
    )
    try:
        with caplog.at_level(logging.WARNING):
            batches = [batch for epoch in range(2) for batch in loader.epoch(epoch)]
    finally:
        loader.close()
    assert len(batches) == 100
    assert {len(set(batch.videos.tolist())) for batch in batches} == {20}
    unread = {number for number, video in enumerate(videos) if video.path in bad}
    assert not unread & {number for batch in batches for number in batch.videos.tolist()}
    assert loader.failed.keys() == bad.keys()
    assert all("\n" not in reason for reason in loader.failed.values())
    assert sum("another video takes its place" in record.message for record in caplog.records) == 100


@needs_proc
def test_memory_and_open_files_are_flat_over_five_thousand_files(tmp_path):
    videos = copies(tmp_path, 500)
    loader = PyAVSource(ClipPlan(videos, CLIP, AugmentConfig(), batch_size=20, seed=0), workers=0)
    files = []

    def opens(epoch: int) -> None:
        assert sum(len(batch.videos) for batch in loader.epoch(epoch)) == 500
        files.append(len(os.listdir("/proc/self/fd")))

    clip = 3 * 80 * 48 * 3
    assert growth(opens, 14) < 500 * clip / 10  # one clip lost per ten files; a decoder is 100 KB
    assert files[1:] == files[:-1]
