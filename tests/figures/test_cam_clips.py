"""Which frames Grad-CAM is drawn on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodvcl.config.schema import ClipConfig
from bodvcl.data.made.rendered import encode
from bodvcl.errors import ConfigError, DataError
from bodvcl.figures.cam_clips import CamVideo, asked_videos, pictures, read_pair

CLIP = ClipConfig(frames=4, stride=3, size=16)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames, 20 per second, 32 x 48; frame i is of the grey 6 i."""
    path = tmp_path_factory.mktemp("cam") / "a@2.mp4"
    frames = np.zeros((40, 32, 48, 3), np.uint8) + (6 * np.arange(40, dtype=np.uint8))[:, None, None, None]
    encode(path, frames)
    return path


@pytest.mark.parametrize(
    ("second", "frames"),
    [(0, [0, 3, 6, 9]), (0.5, [10, 13, 16, 19]), (0.54, [10, 13, 16, 19]), (1.5, [30, 33, 36, 39])],
)
def test_the_clip_begins_at_the_second(video: Path, second: float, frames: list[int]) -> None:
    (found,) = asked_videos([f"{video}@{second}"], CLIP)
    this, other = found.draws(CLIP).frames
    assert this.tolist() == frames
    assert other.tolist() == ([30, 33, 36, 39] if second < 0.75 else [0, 3, 6, 9])
    batch = read_pair(found, CLIP)
    assert batch.clips.shape == (2, 4, 16, 16, 3)
    grey = batch.clips[0].float().mean((1, 2, 3))
    assert np.allclose(grey, 6 * np.array(frames), atol=4)
    large = pictures(found, CLIP, 64)
    assert large.shape == (4, 64, 64, 3)
    assert np.allclose(large.mean((1, 2, 3)), grey, atol=1)


def test_with_a_rate_the_second_is_that_of_the_video(video: Path) -> None:
    clip = ClipConfig(frames=4, stride=1, size=16, fps=5)
    (found,) = asked_videos([f"{video}@1.0"], clip)
    assert found.draws(clip).frames[0].tolist() == [20, 24, 28, 32]


def test_a_name_with_an_at_sign_is_a_name(video: Path) -> None:
    (found,) = asked_videos([str(video)], CLIP)
    assert found.where == 0.25


@pytest.mark.parametrize(
    ("end", "error", "says"),
    [
        ("@1.7", ConfigError, "the last clip begins at 1.50 s"),
        ("@-1", ConfigError, "expected VIDEO@SECONDS with 0 seconds or more"),
        ("@nan", ConfigError, "expected VIDEO@SECONDS"),
        ("@soon", DataError, "no such file"),
        (".gone", DataError, "no such file"),
    ],
)
def test_bad_seconds_and_names(video: Path, end: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        asked_videos([f"{video}{end}"], CLIP)


def test_a_video_that_is_too_short(video: Path) -> None:
    with pytest.raises(DataError, match=r"--cam .*40 frames, a clip of 8 frames with stride 8 needs 57"):
        asked_videos([str(video)], ClipConfig(frames=8, stride=8, size=16))


def test_the_only_clip_of_a_video_is_also_the_other_one(video: Path) -> None:
    clip = ClipConfig(frames=14, stride=3, size=16)
    (found,) = asked_videos([f"{video}@0"], clip)
    assert (found.draws(clip).frames[0] == found.draws(clip).frames[1]).all()
    assert CamVideo(found.info, 0.5).other == 0.0
