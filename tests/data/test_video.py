"""Frame i of a file is frame i of a sequential decode; what is no video is refused with a reason."""

from __future__ import annotations

import os
import pickle

import av
import numpy as np
import pytest
from growth import growth, needs_proc
from video_files import (
    VARIABLE,
    barcode,
    cut_without_decoding,
    read_barcode,
    remux,
    sequential_numbers,
    truncate,
    write_audio,
    write_video,
)

from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.video import BadVideo
from bodvcl.errors import DataError


def numbers(path, indices) -> list[int]:
    return [read_barcode(image) for image in read_frames(probe_video(path), indices)]


def test_frames_hidden_by_an_edit_list_do_not_count(good_video, tmp_path):
    path = cut_without_decoding(good_video, tmp_path / "cut.mp4", 17)
    truth = sequential_numbers(path)
    info = probe_video(path)
    assert truth[0] > 0
    assert info.frames == len(truth)
    with av.open(str(path)) as container:
        assert info.hidden == sum(packet.size > 0 for packet in container.demux(video=0)) - len(truth) > 0
    assert numbers(path, np.arange(info.frames)) == truth
    assert [numbers(path, [i])[0] for i in range(info.frames)] == truth


@pytest.mark.skipif(
    not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV cannot write a rotation"
)
@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_is_applied(tmp_path, degrees):
    path = write_video(tmp_path / "turned.mp4", frames=5, rotation=degrees)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        stored, turn = frame.to_ndarray(format="rgb24"), frame.rotation
    assert turn % 360 == degrees % 360
    info = probe_video(path)
    shown = read_frames(info, [0])[0]
    assert shown.shape[:2] == (info.height, info.width)
    np.testing.assert_array_equal(shown, np.rot90(stored, turn // 90))
    small = read_frames(info, [0], size=(info.height // 2, info.width // 2))
    assert small.shape == (1, info.height // 2, info.width // 2, 3)
    assert abs(small.astype(float).mean() - shown.mean()) < 2


def test_what_is_known_about_a_file(good_video):
    info = probe_video(good_video)
    assert (info.frames, info.width, info.height, info.codec) == (50, 80, 48, "h264")
    assert info.fps == pytest.approx(25)
    assert info.duration == pytest.approx(2.0)
    assert (info.pixel_format, info.colour_space, info.hidden, info.streams) == ("yuv420p", 2, 0, 1)
    assert info.pts is None
    assert info.keyframes[0] == 0
    assert np.diff(info.keyframes).max() <= 12
    np.testing.assert_allclose(info.times(), np.arange(50) / 25)
    assert [info.frame_at(info.pts_of(i)) for i in range(50)] == list(range(50))
    assert info.frame_at(info.pts_of(0) - 1) == info.frame_at(info.pts_of(50)) == info.frame_at(None) == -1


def test_the_first_of_two_video_streams_is_used(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, (height, width) in zip(streams, ((48, 80), (64, 96))):
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(10):
            for shift, stream in zip((0, 100), streams):
                image = barcode(number + shift, stream.height, stream.width)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for stream in streams:
            out.mux(stream.encode(None))
    info = probe_video(path)
    assert (info.streams, info.frames, info.height, info.width) == (2, 10, 48, 80)
    assert numbers(path, [7, 2]) == [7, 2]


def test_times_of_a_variable_rate(tmp_path):
    info = probe_video(write_video(tmp_path / "variable.mkv", stamps=VARIABLE))
    np.testing.assert_allclose(info.times(), np.asarray(VARIABLE) / 1000, atol=1e-3)
    assert [info.frame_at(info.pts_of(i)) for i in range(50)] == list(range(50))
    assert info.frame_at(info.pts_of(0) + 1) == -1


def test_order_repeats_and_size(good_video):
    info = probe_video(good_video)
    assert numbers(good_video, [30, 2, 2, 49, 30]) == [30, 2, 2, 49, 30]
    assert read_frames(info, [3, 4], size=(20, 30)).shape == (2, 20, 30, 3)
    with pytest.raises(IndexError, match="from 0 to 49"):
        read_frames(info, [50])
    with pytest.raises(IndexError, match="from 0 to 49"):
        read_frames(info, [-1])


def test_matches_pyav_pixel_for_pixel(good_video):
    with av.open(str(good_video)) as container:
        truth = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    indices = [7, 40, 11, 25]
    np.testing.assert_array_equal(read_frames(probe_video(good_video), indices), truth[indices])


@pytest.mark.parametrize(
    "params",
    [
        "bframes=3:b-pyramid=none",
        "bframes=8:b-pyramid=normal:b-adapt=2:ref=4",
        "bframes=5:b-pyramid=strict:open-gop=1",
        "bframes=3:weightp=2:tff=1",
        "bframes=0",
    ],
)
def test_skipping_frames_that_nothing_refers_to_changes_no_pixel(tmp_path, params):
    path = write_video(tmp_path / "a.mp4", 60, gop=20, options={"x264-params": params})
    info = probe_video(path)
    with av.open(str(path)) as container:
        truth = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 9, 30):
        indices = rng.integers(0, 60, count)
        np.testing.assert_array_equal(read_frames(info, indices), truth[indices])


def bad_file(kind: str, good, folder):
    """A file that cannot be used, and a part of the reason that should be given."""
    path = folder / f"{kind}.mp4"
    if kind == "empty":
        path.write_bytes(b"")
        return path, "0 bytes"
    if kind == "text":
        path.write_text("not a video\n" * 100)
        return path, "not readable as a video"
    if kind == "sound":
        return write_audio(path), "only audio"
    if kind == "no_header":
        return truncate(good, path, 0.5), "not readable as a video"
    if kind == "truncated":
        return truncate(remux(good, folder / "whole.mp4", movflags="faststart"), path, 0.75), "truncated"
    if kind == "folder":
        path.mkdir()
        return path, "a folder"
    return path, "no such file"


@pytest.mark.parametrize("kind", ["empty", "text", "sound", "no_header", "truncated", "folder", "missing"])
def test_bad_files_are_refused_with_a_reason(kind, good_video, tmp_path):
    path, reason = bad_file(kind, good_video, tmp_path)
    with pytest.raises(BadVideo, match=reason) as caught:
        probe_video(path)
    assert isinstance(caught.value, DataError)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_damage_in_the_middle_is_not_silent(tmp_path):
    path = write_video(tmp_path / "whole.mp4", 100, gop=10)
    info = probe_video(path)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    body = data.index(b"mdat") + 4
    for place in rng.integers(body + 3000, body + 3600, 200):
        data[place] ^= int(rng.integers(1, 255))
    path.write_bytes(data)
    with pytest.raises(BadVideo, match=r"cannot be decoded|damaged|not readable"):
        read_frames(info, np.arange(100))


def test_a_file_that_vanishes_after_the_scan(good_video, tmp_path):
    path = tmp_path / "gone.mp4"
    path.write_bytes(good_video.read_bytes())
    info = probe_video(path)
    path.unlink()
    with pytest.raises(BadVideo, match="no such file"):
        read_frames(info, [0])


def test_names_that_look_like_protocols(good_video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "http:50%d ä.mp4"
    (tmp_path / name).write_bytes(good_video.read_bytes())
    assert numbers(name, [5]) == [5]


def test_names_and_metadata_that_are_not_text(good_video, tmp_path):
    """Bytes that are no UTF-8, in the name and in what the file says about itself, change no picture."""
    path = tmp_path / "tagged.mp4"
    with av.open(str(good_video)) as given, av.open(str(path), "w") as out:
        out.metadata["title"] = "TITLE"
        copy = out.add_stream_from_template(given.streams.video[0])
        copy.metadata["handler_name"] = "HANDLER"
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    data = path.read_bytes()
    assert b"TITLE" in data
    assert b"HANDLER" in data
    data = data.replace(b"TITLE", b"T\xff\xfe\xe9E").replace(b"HANDLER", b"\xc3HA\x80\xffLE")
    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9 \xff.mp4")
    with open(odd, "wb") as file:
        file.write(data)
    assert numbers(os.fsdecode(odd), [5, 40, 0]) == [5, 40, 0]


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(BadVideo("a.mp4", "why")))
    assert (error.path, error.reason, str(error)) == ("a.mp4", "why", "a.mp4: why")


@needs_proc
def test_memory_and_files_do_not_grow(good_video):
    info = probe_video(good_video)
    rng = np.random.default_rng(0)

    files = []

    def use(number: int) -> None:
        for _ in range(40):
            probe_video(good_video)
            read_frames(info, rng.integers(0, 50, 16), size=(30, 40))
        files.append(len(os.listdir("/proc/self/fd")))

    assert growth(use, 15) < 40 * 30 * 40 * 3  # one frame per use; a decoder is 100 KB
    assert files[-1] <= files[0]  # other tests may leave files that are closed meanwhile
