"""Colours over frames, and the moving picture: aligned with the frames to the pixel."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch

from bodvcl.figures.cam_sheet import SheetClip, SheetRow, cam_sheet, shown_frames, side_by_side
from bodvcl.figures.folder import FigureFolder, file_name
from bodvcl.figures.overlay import overlay, relative, scale_bar


def test_a_map_of_zeros_leaves_a_grey_frame() -> None:
    frames = np.full((2, 8, 8, 3), (200, 100, 0), np.uint8)
    shown = overlay(frames, relative(torch.zeros(2, 4, 4)))
    assert (shown == 80).all()  # 0.8 of the mean of the channels


def test_colour_lies_where_the_map_does() -> None:
    maps = torch.zeros(2, 4, 4)
    maps[1, 3, 0] = 5.0
    shown = overlay(np.full((2, 16, 16, 3), 100, np.uint8), relative(maps)).astype(int)
    colour = shown.max(-1) - shown.min(-1)
    assert colour[0].max() == 0
    assert np.unravel_index(colour[1].argmax(), (16, 16))[0] >= 13
    assert colour[1][:8].max() == colour[1][:, 8:].max() == 0
    bar = scale_bar(10, 2).astype(int)
    assert bar[0, 0].max() - bar[0, 0].min() == 0
    assert bar[0, -1].max() - bar[0, -1].min() > 50


def sheet_clip(frames: int, side: int) -> SheetClip:
    rng = np.random.default_rng(0)
    pictures = (
        rng.integers(0, 255, (frames, 4, 4, 3)).repeat(side // 4, 1).repeat(side // 4, 2).astype(np.uint8)
    )
    rows = [SheetRow(f"run {k}", ["a fact"], 255 - pictures) for k in range(2)]
    return SheetClip("a.mp4", "facts", np.arange(frames), pictures, rows)


def test_the_moving_picture_has_one_frame_for_each_frame(tmp_path: Path) -> None:
    clip = sheet_clip(5, 64)
    made = side_by_side(clip)
    assert made.shape[0] == 5
    assert made.shape[1] % 2 == made.shape[2] % 2 == 0
    np.testing.assert_array_equal(made[:, -64:, :64], clip.frames)
    np.testing.assert_array_equal(made[:, -64:, 70:134], clip.rows[0].frames)
    assert (made[0, :32] != made[0, 0, 0]).any()  # names above
    folder = FigureFolder(tmp_path / "new")
    folder.create()
    folder.save_video("cam", made, 4)
    assert folder.files == ["cam.mp4"]
    assert [path.name for path in folder.path.iterdir()] == ["cam.mp4"]
    with av.open(str(folder.path / "cam.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 4)
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    assert decoded.shape == made.shape
    errors = [abs(decoded[k].astype(int).mean(-1) - made[k].astype(int).mean(-1)).mean() for k in range(5)]
    others = [
        abs(decoded[k].astype(int).mean(-1) - made[k - 1].astype(int).mean(-1)).mean() for k in range(5)
    ]
    assert max(errors) < 6 < 4 * max(errors) < min(others)


def test_long_clips_show_evenly_spread_frames() -> None:
    assert shown_frames(5).tolist() == [0, 1, 2, 3, 4]
    assert shown_frames(16).tolist() == [0, 2, 4, 6, 9, 11, 13, 15]
    figure = cam_sheet(sheet_clip(16, 16))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("run 1") == 1
    assert [text for text in texts if text.startswith("frame ")] == [
        f"frame {n}" for n in (0, 2, 4, 6, 9, 11, 13, 15)
    ]


def test_names_of_files() -> None:
    assert file_name("backbone+std", "a b/c") == "backbone_std-a_b_c"
    assert file_name("..", "ü") == "_-_"
