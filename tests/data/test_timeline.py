"""Times are those of the timestamps; headers, gaps and jumps do not lead a clip astray."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from video_files import VARIABLE, join_streams, read_barcode, restamp, write_video

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.draws import clip_frames
from bodvcl.data.files.clip_fit import required_frames, why_unfit
from bodvcl.data.files.copies import CopySettings
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.scan import scan
from bodvcl.data.files.timeline import counted_timeline, find_gaps, playing_times, timeline
from bodvcl.data.files.transcode import write_copy
from bodvcl.data.files.video import VideoInfo
from bodvcl.errors import DataError

MS = 1e-3
CLIP = ClipConfig(frames=8, stride=2, fps=15)
SPAN = 14 / 15
ABSURD = [0.0, 1000.0, 90000.0, float("inf"), float("nan"), -25.0, 1e-9]


def video(steps, unit: float = MS, header: float = 0.0) -> VideoInfo:
    """What a scan would say of a file whose frames are these steps apart."""
    stamps = np.concatenate([[0], np.cumsum(np.asarray(steps, np.int64))])
    found = timeline(stamps, unit, header)
    return VideoInfo(
        path="a.mkv", frames=len(stamps), fps=found.fps, width=80, height=48, rotation=0, codec="h264",
        duration=len(stamps) / found.fps, sequential=False, time_base=found.unit, first_pts=0, pts_step=1,
        pts=found.stamps, keyframes=np.zeros(1, np.int32), gaps=found.gaps, jumps=found.jumps,
    )  # fmt: skip


usual_steps = st.lists(st.integers(20, 60), min_size=60, max_size=120)


@given(usual_steps, st.sampled_from(ABSURD))
def test_an_absurd_header_is_not_believed(steps, header):
    info = video(steps, header=header)
    assert info.fps == pytest.approx(1000 / np.mean(steps))
    assert required_frames(info, CLIP) == np.searchsorted(info.times(), SPAN + 1e-6)
    assert why_unfit(info, CLIP) is None


@given(st.sampled_from(["24", "24000/1001", "25", "30000/1001", "60", "240", "1/2"]), st.integers(40, 200))
def test_a_header_that_agrees_is_exact_where_timestamps_are_rounded(rate, frames):
    stamps = np.round(np.arange(frames) * 1000 / float(Fraction(rate))).astype(np.int64)
    assert timeline(stamps, MS, float(Fraction(rate))).fps == float(Fraction(rate))
    assert timeline(stamps, MS, 3 * float(Fraction(rate))).fps == pytest.approx(
        float(Fraction(rate)), rel=0.01
    )


@given(usual_steps, st.lists(st.tuples(st.integers(0, 119), st.integers(700, 10**9)), max_size=4), st.data())
def test_a_clip_over_a_gap_is_no_still_picture(steps, gaps, data):
    gaps = {place % len(steps): length for place, length in gaps}
    for place, length in gaps.items():
        steps[place] = length
    info = video(steps)
    assert sorted(info.gaps - 1) == sorted(gaps)
    assert info.jumps == len(gaps)
    np.testing.assert_allclose(np.diff(info.times()) * 1000, steps)  # the file's own times stay
    where = data.draw(st.floats(0, 1, exclude_max=True))
    if required_frames(info, CLIP) <= info.frames:
        assert (np.diff(clip_frames(info, CLIP, np.array([where]))[0]) > 0).all()


often, at_times = st.integers(200, 900), st.integers(200, 10**5)


@given(st.lists(often | often | at_times, min_size=20, max_size=99), st.floats(0, 1, exclude_max=True))
def test_no_clip_is_a_still_picture_unless_frames_are_usually_that_far_apart(steps, where):
    info, span = video(steps), 9.0
    clip = ClipConfig(frames=10, stride=1, fps=1)
    usual = np.median(np.diff(info.playing_times()))
    assume(usual <= span / 8 and required_frames(info, clip) <= info.frames)
    numbers = clip_frames(info, clip, np.array([where]))[0]
    assert np.bincount(numbers).max() <= 6  # of ten, a second apart


@given(st.lists(st.integers(1000, 9000), min_size=2, max_size=60))
def test_a_slide_show_has_no_gaps(steps):
    assert len(find_gaps(np.concatenate([[0], np.cumsum(steps)]), MS)) == 0


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=80), st.sampled_from([0.0, 25.0, 1000.0]))
def test_whatever_the_timestamps_times_go_forward(stamps, header):
    stamps = np.array(stamps)
    found = timeline(stamps, MS, header)
    assert len(found.stamps) == len(stamps)
    assert (np.diff(found.stamps) > 0).all()
    steps = np.diff(stamps)
    if (steps > 0).all():
        np.testing.assert_array_equal(found.stamps, stamps)
        assert found.jumps == len(found.gaps)
    else:
        assert found.jumps >= (steps <= 0).sum()
    if found.unit:
        assert (np.diff(playing_times(found.stamps, found.unit, found.gaps)) > 0).all()


@given(st.integers(2, 60), st.integers(2, 60), st.integers(0, 10**6))
def test_what_follows_a_step_back_is_played_after_what_was_before(first, second, late):
    stamps = np.concatenate([late + 10**6 + 40 * np.arange(first), late + 40 * np.arange(second)])
    found = timeline(stamps, MS, 25.0)
    assert (found.jumps, len(found.gaps), found.fps) == (1, 0, 25.0)
    np.testing.assert_allclose(np.diff(found.stamps) * found.unit, 0.04)


@given(st.integers(2, 12), st.integers(3, 20))
def test_frames_with_one_timestamp_are_spread_to_the_next(alike, groups):
    found = timeline(np.repeat(480 * np.arange(groups), alike), MS, 0.0)
    np.testing.assert_allclose(np.diff(found.stamps) * found.unit, 0.48 / alike, atol=2 / 90_000)
    assert found.jumps == groups * (alike - 1)


def test_without_timestamps_the_header_counts_if_it_can_be_a_rate():
    for header in ABSURD:
        found = counted_timeline(10, header)
        assert (found.fps, found.unit) == (0, 0)
    found = counted_timeline(10, 12.5)
    np.testing.assert_allclose(found.stamps * found.unit, np.arange(10) / 12.5)


@given(
    st.lists(st.integers(20, 60), min_size=1, max_size=60),
    st.integers(2, 12), st.integers(1, 4), st.floats(5, 60), st.data(),
)  # fmt: skip
def test_a_video_that_holds_a_clip_fills_it(steps, frames, stride, fps, data):
    """What is promised at the scan is kept when a clip is cut: it ends within the video."""
    info, clip = video(steps), ClipConfig(frames=frames, stride=stride, fps=fps)
    span = (frames - 1) * stride / fps
    fits = required_frames(info, clip) <= info.frames
    if span < info.times()[-1]:
        assert fits
    if span > info.times()[-1] + 1 / info.fps + 1e-5:
        assert not fits
        assert "needs" in why_unfit(info, clip)
    if fits:
        where = np.array([data.draw(st.floats(0, 1, exclude_max=True))])
        numbers = clip_frames(info, clip, where)[0]
        start = where[0] * max(info.times()[-1] - span, 0)
        wanted = start + np.arange(frames) * stride / fps
        assert (info.times()[numbers] <= wanted + 1e-5).all()
        assert (np.append(info.times(), np.inf)[numbers + 1] >= wanted - 1e-5).all()


def test_a_video_of_still_pictures_is_refused_for_clips_in_time():
    slides = video([5000] * 30)
    assert "a frame every 5 s, so a clip of 0.933 s would be mostly one still frame" in why_unfit(
        slides, CLIP
    )
    assert why_unfit(slides, dataclasses.replace(CLIP, fps=1)) is None
    assert why_unfit(slides, dataclasses.replace(CLIP, fps=None)) is None


def times_and_barcodes(path) -> tuple[VideoInfo, list[int]]:
    info = probe_video(path)
    return info, [read_barcode(image) for image in read_frames(info, range(info.frames))]


LATE = [500_000 + 40 * i for i in range(50)]
WRAPPING = [95_443_000 + 40 * i for i in range(50)]  # MPEG-TS counts to 2^33 / 90 milliseconds: 95443717


@pytest.mark.parametrize("kind", ["again", "earlier", "later", "wrap", "twice.mkv", "all_one.mkv", "gap.mp4"])
def test_files_whose_timestamps_jump(tmp_path, kind):
    plain = write_video(tmp_path / "plain.ts")
    even = write_video(tmp_path / "even.mp4", codec="mpeg4")
    if kind == "wrap":
        path, jumps, frames = write_video(tmp_path / "wrap.ts", stamps=WRAPPING), 0, 50
    elif kind == "twice.mkv":
        path, jumps, frames = restamp(even, tmp_path / kind, [40 * (i - (i == 7)) for i in range(50)]), 1, 50
    elif kind == "all_one.mkv":
        path, jumps, frames = restamp(even, tmp_path / kind, [0] * 50), 49, 50
    elif kind == "gap.mp4":
        path, jumps, frames = (
            restamp(even, tmp_path / kind, [40 * i + 3000 * (i > 20) for i in range(50)]),
            1,
            50,
        )
    else:
        late = write_video(tmp_path / "late.ts", stamps=LATE)
        parts = {"again": (plain, plain), "earlier": (late, plain), "later": (plain, late)}[kind]
        path, jumps, frames = join_streams(tmp_path / "joined.ts", *parts), 1, 100
    info, barcodes = times_and_barcodes(path)
    assert barcodes == [number % 50 for number in range(frames)]
    assert info.jumps == jumps
    assert (info.fps, info.duration) == pytest.approx((25, frames / 25))
    np.testing.assert_allclose(info.playing_times(), np.arange(frames) / 25, atol=0.021)
    for where in np.linspace(0, 0.999, 40):
        assert (np.diff(clip_frames(info, CLIP, np.array([where]))[0]) > 0).all()

    write_copy(info, None, tmp_path / "copy.mp4", CopySettings(short_side=256))
    copy, barcodes_of_copy = times_and_barcodes(tmp_path / "copy.mp4")
    assert barcodes_of_copy == barcodes
    # a day between two frames is more than an .mp4 file can say
    times = info.playing_times() if kind == "earlier" else info.times()
    np.testing.assert_allclose(copy.times(), times, atol=1e-4)
    np.testing.assert_allclose(copy.playing_times(), info.playing_times(), atol=1e-4)

    lines = "\n".join(scan(path.parent, clip=CLIP, workers=0, progress=False).summary())
    assert (f"{path}: at {jumps} frame" in lines) == (jumps > 0)
    assert ("timestamps repeat, go back or leave a gap in" in lines) == (jumps > 0)


def test_an_avi_file_of_variable_rate_has_the_times_of_its_packets(tmp_path):
    path = write_video(tmp_path / "a.avi", codec="mpeg4", stamps=VARIABLE, options={"bf": "2"})
    info, barcodes = times_and_barcodes(path)
    assert barcodes == list(range(50))
    np.testing.assert_allclose(info.times(), np.array(VARIABLE) / 1000, atol=0.022)  # one frame later
    assert info.fps == pytest.approx(49 / info.times()[-1])


def test_a_browser_recording_is_cut_by_its_timestamps(tmp_path):
    stamps = [33 * i + i % 3 for i in range(90)]
    path = write_video(
        tmp_path / "a.webm", 90, codec="libvpx", fps=1000, stamps=stamps,
        options={"deadline": "realtime", "cpu-used": "8"},
    )  # fmt: skip
    found = scan(tmp_path, clip=CLIP, workers=0, progress=False)
    assert [video.path for video in found.videos] == [str(path)]
    assert "30.28 fps" in found.summary()[0]
    write_copy(found.videos[0], None, tmp_path / "copy.mp4", CopySettings(short_side=256))
    copy = probe_video(tmp_path / "copy.mp4")
    assert copy.fps == pytest.approx(found.videos[0].fps, rel=1e-3)
    np.testing.assert_allclose(copy.times(), np.array(stamps) / 1000, atol=1e-3)


def test_a_file_that_does_not_tell_its_times_is_refused_for_clips_in_time_only(tmp_path):
    write_video(tmp_path / "a.avi", fps=1000, codec="mjpeg", pix_fmt="yuvj420p")
    info = scan(tmp_path, clip=dataclasses.replace(CLIP, fps=None), workers=0, progress=False).videos[0]
    assert (info.fps, info.frames) == (0, 50)
    with pytest.raises(DataError, match=r"when its frames are shown, which --clip\.fps 15 needs"):
        scan(tmp_path, clip=dataclasses.replace(CLIP, short="repeat"), workers=0, progress=False)
    with pytest.raises(DataError, match="when its frames are shown"):
        write_copy(info, None, tmp_path / "copy.mp4", CopySettings())
    assert not (tmp_path / "copy.mp4").exists()
