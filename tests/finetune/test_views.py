"""The views of a test video: where the crops lie, and the mean of the probabilities."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from video_files import write_video

from bodvcl.config.schema import ClipConfig
from bodvcl.data.clips.augment import crop_resize
from bodvcl.data.clips.boxes import centred_square, squares_along
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames
from bodvcl.engine.ranks import Ranks, World
from bodvcl.evaluate.reading import read_clips
from bodvcl.finetune.views import Viewer, Views

CLIP = replace(ClipConfig(frames=4, stride=2, size=24), views=1)
CPU = torch.device("cpu")


def viewer(**changed):
    given = {"clip": CLIP, "mean": 0.45, "std": 0.225, "multi_label": False, "ranks": Ranks(World(), CPU),
             "at_once": 5, "workers": 0, "fast": True}  # fmt: skip
    return Viewer(**(given | changed))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    return [probe_video(write_video(folder / f"{n}.mp4", frames=n)) for n in (30, 41, 22)]


def network(clips):
    """Logits that depend on every pixel of a clip, and on where it is."""
    means = clips.mean((1, 2))
    return torch.stack([means[:, :8].mean((1, 2)), means[:, :, :8].mean((1, 2)), clips.std((1, 2, 3, 4))], 1)


def test_three_crops_cover_both_ends_and_the_centre():
    wide = squares_along(40, 100, 3)
    assert wide[:, 1] * 100 == pytest.approx([0, 30, 60])
    assert np.allclose(wide[:, [0, 2, 3]], [0, 1, 0.4])
    assert squares_along(100, 40, 3)[:, 0] * 100 == pytest.approx([0, 30, 60])
    assert np.array_equal(wide[1], centred_square(40, 100))
    assert np.array_equal(squares_along(40, 100, 1), [centred_square(40, 100)])


def test_crops_show_left_centre_and_right(tmp_path):
    """A video whose left third is dark, whose middle is grey and whose right third is bright."""
    path = tmp_path / "thirds.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 144, "yuv420p"
        image = np.repeat(np.repeat(np.array([[20, 120, 230]], np.uint8), 48, 0), 48, 1)
        for _ in range(12):
            frame = av.VideoFrame.from_ndarray(np.stack([image] * 3, -1), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    batch = next(read_clips([probe_video(path)], CLIP, clips_per_video=2, crops=3, workers=0))
    levels = batch.clips.float().mean((1, 2, 3, 4))
    assert levels.tolist() == pytest.approx([20, 120, 230] * 2, abs=4)
    assert torch.equal(batch.frames[0], batch.frames[2])
    assert not torch.equal(batch.frames[0], batch.frames[3])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_probabilities_are_averaged_as_a_plain_loop_does(videos, multi_label, at_once):
    views = Views(3, 3, 32)
    found = viewer(multi_label=multi_label, at_once=at_once).predict(network, videos, views)
    assert found.rows.tolist() == [0, 1, 2]
    for video, means in zip(videos, found.probabilities):
        each = []
        last = (CLIP.frames - 1) * CLIP.stride
        for place in range(views.clips):
            start = int((place + 0.5) / views.clips * max(video.frames - last, 1))
            numbers = np.minimum(start + np.arange(CLIP.frames) * CLIP.stride, video.frames - 1)
            frames = read_frames(video, numbers, (video.height, video.width))
            for box in squares_along(video.height, video.width, 3):
                pixels = crop_resize(frames, box, views.size).permute(3, 0, 1, 2).float() / 255
                logits = network(((pixels - 0.45) / 0.225)[None])[0].double()
                each.append(logits.sigmoid() if multi_label else logits.softmax(0))
        torch.testing.assert_close(torch.from_numpy(means), torch.stack(each).mean(0), rtol=0, atol=1e-5)


def test_a_video_that_cannot_be_read_is_left_out(videos, tmp_path):
    gone = replace(videos[1], path=str(tmp_path / "gone.mp4"))
    found = viewer().predict(network, [videos[0], gone, videos[2]], Views(1, 1, 24))
    assert found.rows.tolist() == [0, 2]
    nothing = viewer().predict(network, [gone], Views(1, 1, 24))
    assert len(nothing.rows) == 0
