"""Windows of long videos: which they are, that clips stay inside, and that one pass reads them all."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from video_files import VARIABLE, read_barcode, restamp, write_video

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.draws import evaluation_draws
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.pyav_clips import load_clips
from bodvcl.embed import reading
from bodvcl.embed.file import read_embeddings
from bodvcl.embed.query import embed_query
from bodvcl.embed.rows import frame_ends, plan_rows, smallest_window, windows
from bodvcl.errors import ConfigError

CLIP = ClipConfig(frames=4, stride=2, size=16)


def regular(frames: int, fps: int = 25) -> VideoInfo:
    return VideoInfo(
        "v", frames, fps, 80, 48, 0, "h264", frames / fps, False, 1 / fps, 0, 1, None, np.zeros(1)
    )


def test_windows_of_a_regular_video():
    """103 frames at 25 a second: two seconds, two seconds, and 3 frames that hold no clip of 7."""
    found = windows(regular(103), CLIP, 2.0, 2.0)
    assert (found.first.tolist(), found.stop.tolist()) == ([0, 50], [50, 100])
    np.testing.assert_allclose(found.start, [0, 2])
    np.testing.assert_allclose(found.end, [2, 4])
    found = windows(regular(107), CLIP, 2.0, 2.0)  # 7 frames remain
    assert (found.first.tolist(), found.stop.tolist()) == ([0, 50, 100], [50, 100, 107])
    np.testing.assert_allclose(found.end, [2, 4, 4.28])
    found = windows(regular(103), CLIP, 2.0, 1.0)  # the last one reaches the end
    assert (found.first.tolist(), found.stop.tolist()) == ([0, 25, 50, 75], [50, 75, 100, 103])
    assert windows(regular(20), CLIP, 2.0, 2.0).stop.tolist() == [20]
    assert windows(replace(regular(103), fps=0, time_base=0), CLIP, 2.0, 2.0) is None


@given(
    st.integers(1, 400),
    st.sampled_from([12, 25, 30]),
    st.floats(0.05, 6),
    st.floats(0.05, 6),
    st.sampled_from([None, 5.0, 12.5]),
    st.sampled_from(["refuse", "repeat"]),
    st.booleans(),
)
def test_clips_of_windows_stay_inside_and_windows_cover_the_video(
    frames, fps, window, step, rate, short, variable
):
    info = regular(frames, fps)
    if variable:
        info = replace(info, pts=np.cumsum(1 + np.arange(frames) % 3), time_base=0.5 / fps, fps=fps)
    clip = replace(CLIP, fps=rate, short=short)
    found = windows(info, clip, window, step)
    times, end = frame_ends(info)
    for first, stop, start, last in zip(found.first, found.stop, found.start, found.end):
        shown = evaluation_draws(info, clip, 3, first=int(first), stop=int(stop)).frames
        assert first <= shown.min()
        assert shown.max() < stop <= frames
        assert start == times[first]
        assert times[stop - 1] <= last <= max(end, start) + 1e-9
        assert times[stop - 1] - start < window
    if window >= step and window >= smallest_window(info, clip) + 1 / fps and not variable:
        covered = {n for first, stop in zip(found.first, found.stop) for n in range(first, stop)}
        missing = frames - len(covered)
        assert missing == 0 or frames - max(covered, default=-1) - 1 == missing  # an end that holds no clip


def test_too_short_windows_are_refused_with_the_smallest():
    with pytest.raises(ConfigError, match=r"--window 0\.2: a clip of 4 frames with stride 2 takes 0\.28 s"):
        plan_rows([regular(100)], CLIP, 0.2, 0.2)
    assert len(plan_rows([regular(100)], CLIP, 0.28, 0.28)[0]) == 14
    rows, left_out = plan_rows([regular(100, 25), regular(100, 12)], CLIP, 0.4, 0.4)
    assert set(rows.video.tolist()) == {0}
    assert left_out == [("v", "a window of 0.4 s holds no clip, which takes 0.59 s")]


@pytest.mark.parametrize("overlap", [False, True])
def test_one_pass_reads_the_frames_of_every_clip(tmp_path, overlap):
    """Barcodes of the frames of overlapping clips, in any order."""
    info = probe_video(str(write_video(tmp_path / "long.mp4", 200, size=(80, 80))))
    starts = np.array([0, 30, 31, 10, 90]) if overlap else np.arange(0, 160, 16)
    frames = starts[:, None] + np.arange(0, 16, 2)
    out = torch.zeros((len(frames), 8, 80, 80, 3), dtype=torch.uint8)
    box = np.array([0.0, 0, 1, 1])
    reading.load_in_order(info, frames, box, replace(CLIP, frames=8, size=80), out)
    assert [[read_barcode(image.numpy()) for image in clip] for clip in out] == frames.tolist()


def test_memory_holds_unfinished_clips_only(tmp_path, monkeypatch):
    info = probe_video(str(write_video(tmp_path / "long.mp4", 200)))
    most = 0
    stack = np.stack

    def counted(images):
        nonlocal most
        most = max(most, len(images))
        return stack(images)

    opened = []
    whole = reading.stream_frames

    def stream(info, numbers, size):
        opened.append(list(numbers))
        return whole(info, numbers, size)

    monkeypatch.setattr(reading, "stream_frames", stream)
    monkeypatch.setattr(np, "stack", counted)
    rows, _ = plan_rows([info], CLIP, 0.4, 0.4)
    tasks = [reading.Task(start, min(start + 8, len(rows))) for start in range(0, len(rows), 8)]
    batches = list(reading.read_rows([info], rows, CLIP, 1, tasks, 0))
    assert len(opened) == len(tasks) == 3  # one pass for each run of windows, not one for each window
    assert all(list(numbers) == sorted(numbers) for numbers in opened)
    assert most == CLIP.frames
    assert list(itertools.chain(*(batch.videos.tolist() for batch in batches))) == list(range(len(rows)))
    for row, clip in enumerate(torch.cat([batch.clips for batch in batches])):
        draws = evaluation_draws(info, CLIP, 1, first=int(rows.first[row]), stop=int(rows.stop[row]))
        alone = torch.empty((1, CLIP.frames, 16, 16, 3), dtype=torch.uint8)
        load_clips(info, draws, CLIP, 1.0, alone)
        assert torch.equal(alone[0], clip)


def test_windows_in_a_file(embed, videos, tmp_path):
    out = tmp_path / "out.parquet"
    assert embed(videos, out, "--window", "1", "--step", "0.5", "--frames") == 0
    found = read_embeddings(out)
    assert found.about.window == 1
    assert found.about.every == 0.5
    of_e = found.video == 4  # 73 frames, 2.92 s
    np.testing.assert_allclose(found.start[of_e], [0, 0.52, 1, 1.52, 2])
    np.testing.assert_allclose(found.end[of_e], [1, 1.52, 2, 2.52, 2.92])
    framed = read_embeddings(out, ["frames", "pooled"])
    assert framed.vectors["frames"].shape == (len(found), 4, found.about.widths["pooled"] // 2)
    for start, end, times in zip(framed.start, framed.end, framed.times):
        assert start <= times[0]
        assert times[-1] <= end
        np.testing.assert_allclose(np.diff(times), 2 / 25)
    frames = framed.vectors["frames"]
    pooled = np.concatenate([frames.mean(1), frames.std(1)], 1)
    np.testing.assert_allclose(pooled, framed.vectors["pooled"], rtol=1e-4, atol=1e-5)
    query = embed_query(str(videos / "e.mp4"), found.about, seconds=2.5)
    np.testing.assert_allclose(query["static"], found.vectors["static"][of_e][-1], rtol=0.2, atol=0.05)
    middle = embed_query(str(videos / "e.mp4"), found.about, seconds=0.5)
    np.testing.assert_allclose(middle["static"], found.vectors["static"][of_e][0], rtol=1e-5, atol=1e-6)


def test_a_damaged_window_is_left_out_alone(embed, videos, tmp_path, capsys, monkeypatch):
    from bodvcl.data.files.video import BadVideo

    load = reading.load_in_order

    def damaged(info, frames, *rest):
        if info.path.endswith("d.mp4") and 31 in frames:
            raise BadVideo(info.path, "frame 31 of 61 is damaged")
        load(info, frames, *rest)

    monkeypatch.setattr(reading, "load_in_order", damaged)
    assert embed(videos, tmp_path / "out.parquet", "--window", "0.4", "--clips-per-window", "2") == 0
    said = capsys.readouterr().out
    assert "at 1.20 s: frame 31 of 61 is damaged" in said
    found = read_embeddings(tmp_path / "out.parquet")
    of_d = [round(start, 2) for path, start in zip(found.paths, found.start) if path.endswith("d.mp4")]
    assert of_d == [0.0, 0.4, 0.8, 1.6, 2.0]


def test_a_variable_rate(embed, tmp_path):
    still = write_video(tmp_path / "still.mkv", 50, options={"bf": "0"})
    path = restamp(still, tmp_path / "variable.mkv", VARIABLE)
    assert embed(path, tmp_path / "out.parquet", "--window", "0.5") == 0
    found = read_embeddings(tmp_path / "out.parquet")
    assert found.start.tolist() == pytest.approx(
        [VARIABLE[next(i for i, t in enumerate(VARIABLE) if t >= 500 * k)] / 1000 for k in range(len(found))]
    )
