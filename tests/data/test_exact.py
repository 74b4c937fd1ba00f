"""Every kind of file: frame i is frame i of a plain decode, or the file is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from video_files import CATALOGUE, can_encode, flip_bytes, read_barcode, truncate, write_video

from bodvcl.config.schema import ClipConfig
from bodvcl.data.files.opening import ANY_METADATA
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import BadVideo


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("catalogue")


def render(folder: Path, name: str) -> Path:
    """A file of the catalogue, encoded when it is first asked for."""
    if not can_encode(name):
        pytest.skip(f"this FFmpeg cannot encode {CATALOGUE[name]['codec']}")
    path = folder / name
    return path if path.exists() else write_video(path, **CATALOGUE[name])


def plain_decode(path: Path) -> list[np.ndarray]:
    """Upright frames of a decode from start to end."""
    frames = []
    with av.open(str(path), **ANY_METADATA) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for frame in container.decode(stream):
            frames.append(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
    return frames


@pytest.mark.parametrize("name", CATALOGUE)
def test_any_frame_is_that_of_a_plain_decode(folder, name):
    path = render(folder, name)
    count = CATALOGUE[name].get("frames", 50)
    info = probe_video(path)
    assert info.frames == count
    assert [read_barcode(image) for image in plain_decode(path)] == list(range(count))
    rng = np.random.default_rng(0)
    wanted = [rng.integers(0, count, 5).tolist() for _ in range(8)]
    wanted += [[count - 1], [0], list(range(count)), list(range(count - 1, -1, -7))]
    for indices in wanted:
        assert [read_barcode(image) for image in read_frames(info, indices, info.pixels)] == indices


TIMED = [name for name, options in CATALOGUE.items() if "stamps" in options and not name.endswith(".avi")]


@pytest.mark.parametrize("name", TIMED)
def test_times_are_those_that_were_written(folder, name):
    times = np.asarray(CATALOGUE[name]["stamps"]) / 1000
    np.testing.assert_allclose(probe_video(render(folder, name)).times(), times - times[0], atol=1.1e-3)


@pytest.mark.parametrize("name", CATALOGUE)
def test_damage_is_refused_or_gives_what_a_plain_decode_gives(folder, tmp_path, name):
    """Not every changed byte can be noticed: what is not refused is at least what any player would show."""
    path = render(folder, name)
    reasons: list[str] = []
    damaged = [flip_bytes(path, tmp_path / f"flip{seed}{path.suffix}", seed) for seed in range(3)]
    damaged += [truncate(path, tmp_path / f"cut{share}{path.suffix}", share) for share in (0.3, 0.6, 0.95)]
    for file in damaged:
        try:
            info = probe_video(file)
            images = read_frames(info, range(info.frames), info.pixels)
        except BadVideo as error:
            reasons.append(error.reason)
            continue
        if info.codec != "mjpeg":  # its decoder leaves what it cannot decode as the memory was
            truth = plain_decode(file)
            assert info.frames == len(truth)
            for image, expected in zip(images, truth):
                np.testing.assert_array_equal(image, expected)
    assert all(reason and "\n" not in reason for reason in reasons)
    if name in ("h264.mp4", "hevc.mp4", "av1.mp4", "mpeg4.mp4", "h264.mov", "prores.mov"):
        assert len(reasons) >= 3  # cut in the middle, an .mp4 file has lost its table of contents


def test_two_recordings_in_one_stream(folder, tmp_path):
    """The second has another picture size: its frames are scaled to that of the first."""
    small = render(folder, "h264.h264")
    large = write_video(tmp_path / "large.h264", 30, size=(96, 160), container="h264")
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    info = probe_video(path)
    assert (info.frames, info.height, info.width) == (80, 48, 80)
    images = read_frames(info, range(80))
    assert [read_barcode(image) for image in images[:50]] == list(range(50))
    np.testing.assert_array_equal(read_frames(info, [79, 3, 60]), images[[79, 3, 60]])
    assert [read_barcode(image) for image in read_frames(info, range(50, 80), size=(96, 160))] == list(
        range(30)
    )


def test_a_stream_that_begins_between_key_frames(folder, tmp_path):
    data = render(folder, "h264.ts").read_bytes()
    path = tmp_path / "begin.ts"
    path.write_bytes(data[188 * (len(data) // 188 // 3) :])
    truth = [read_barcode(image) for image in plain_decode(path)]
    info = probe_video(path)
    assert 10 < info.frames == len(truth) < 50
    assert [read_barcode(image) for image in read_frames(info, range(info.frames))] == truth
    assert truth == list(range(truth[0], 50))


def test_a_scan_of_all_of_them(folder, tmp_path):
    good = [name for name in CATALOGUE if can_encode(name)]
    for name in good:
        (tmp_path / name).symlink_to(render(folder, name))
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    truncate(folder / "h264.mp4", tmp_path / "cut.mp4", 0.5)
    found = scan(tmp_path, clip=None, workers=2, progress=False)
    assert sorted(Path(video.path).name for video in found.videos) == sorted(good)
    assert [Path(path).name for path, _ in found.skipped] == ["cut.mp4", "empty.mp4", "text.mp4"]
    few = scan(tmp_path, clip=ClipConfig(frames=8, stride=2), workers=2, progress=False)
    short = {Path(path).name for path, reason in few.skipped if "needs 15" in reason}
    assert short == {name for name in good if CATALOGUE[name].get("frames", 50) < 15}
