"""The contact sheet shows what training sees, and says what was drawn."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from video_files import write_video

from bodvcl.cli.data import main
from bodvcl.config.schema import AugmentConfig, ClipConfig, TrainConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.colour import colour_matrix
from bodvcl.data.clips.draws import draw_clips
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.show import SeenVideo, colour_factors, drawn_lines, see_video
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.viz.clip_page import MOST_FRAMES, sheet_png, sheet_video
from bodvcl.viz.clip_sheet import SheetVideo, SheetView, draw_sheet
from bodvcl.viz.sheet import CELL

RECIPE = AugmentConfig(
    crop_area=(0.2, 0.766), brightness=0.6, contrast=0.6, saturation=0.6, hue=0.15, gray=0.2, blur=0.5
)


@pytest.fixture(autouse=True)
def own_index(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def see(video: VideoInfo, index: int, config: TrainConfig, epoch: int) -> SeenVideo:
    return see_video(video, index, config.clip, config.augment, seed=config.seed, epoch=epoch)


def test_factors_are_read_back_from_a_colour_matrix():
    rng = np.random.default_rng(0)
    for _ in range(50):
        factors = *rng.uniform(0.4, 1.6, 3), rng.uniform(-0.15, 0.15)
        for gray in (False, True):
            got = colour_factors(colour_matrix(*factors, gray=gray).astype(np.float32))
            assert got.gray is gray
            known = factors[:2] if gray else factors
            np.testing.assert_allclose(got[: len(known)], known, atol=1e-5)


def test_the_sheet_shows_the_pixels_that_training_gets(video_folder):
    recipe = replace(RECIPE, mix=0.0)  # scenes are mixed among the videos of a batch
    videos = [probe_video(path) for path in sorted(video_folder.rglob("*.mp4"))[:3]]
    config = TrainConfig(clip=ClipConfig(frames=4, size=32), augment=recipe, seed=5)
    loader = PyAVSource(ClipPlan(videos, config.clip, recipe, batch_size=3, seed=5), workers=0)
    batch = next(loader.epoch(2))
    expected = finish(batch, recipe).permute(0, 2, 3, 4, 1) * recipe.std + recipe.mean
    for place, index in enumerate(batch.videos.tolist()):
        seen = see(videos[index], index, config, 2)
        want = expected[2 * place : 2 * place + 2].numpy() * 255
        assert np.abs(seen.after - want).max() <= 0.51
        assert seen.before.shape == (2, 4, 48, 80, 3)


def test_every_drawn_parameter_is_told(good_video):
    video = probe_video(good_video)
    clip = ClipConfig(frames=4, size=32, views=40)
    draws = draw_clips(video, clip, RECIPE, seed=0, epoch=0, index=0)
    seen_gray, seen_still = False, False
    for view in range(40):
        text = "\n".join(drawn_lines(video, draws, view))
        width, height, x, y = map(int, re.search(r"crop (\d+) x (\d+) at x (\d+), y (\d+)", text).groups())
        box = np.array([y / 48, x / 80, height / 48, width / 80])
        np.testing.assert_allclose(box, draws.boxes[view], atol=0.025)
        assert ("mirrored: yes" in text) == draws.flip[view]
        assert ("blur: none" in text) == (draws.sigma[view] == 0)
        assert f"{draws.share[view]:.0%} of another scene" in text
        seen_gray |= "grayscale" in text
        seen_still |= "colours: unchanged" in text
    assert seen_gray
    assert seen_still


def picture(frames: int, height: int, width: int, value: int) -> np.ndarray:
    return np.full((frames, height, width, 3), value, np.uint8)


def test_frames_keep_their_pixels_and_lie_below_each_other():
    before, after = picture(2, 40, 60, 10), picture(2, 40, 40, 77)
    view = SheetView("clip 1", ["one", "two"], ["a", "b"], before, (0.25, 0.5, 0.5, 0.25), after)
    image = sheet_pixels(sheet_png("", [SheetVideo("video $a^b$", "facts", [view])] * 2))
    before, after = (image == 10).all(-1), (image == 77).all(-1)
    assert after.sum() == 2 * 2 * CELL * CELL
    assert 0.9 < before.sum() / (2 * 2 * CELL * 1.5 * CELL) < 1
    assert np.flatnonzero(before.any(1))[0] < np.flatnonzero(after.any(1))[0]
    assert np.flatnonzero(before.any(0))[0] == np.flatnonzero(after.any(0))[0]


def sheet_pixels(data: bytes) -> np.ndarray:
    image = imread(io.BytesIO(data))[..., :3]
    return (image * 255).round().astype(np.uint8)


def test_long_clips_show_some_frames_and_a_long_name_is_cut(tmp_path):
    path = write_video(tmp_path / ("long name " * 14 + ".mp4"), 40)
    config = TrainConfig(clip=ClipConfig(frames=16, stride=1, size=16))
    seen = see(probe_video(path), 0, config, 0)
    sheet = sheet_video(seen)
    assert [len(view.labels) for view in sheet.views] == [MOST_FRAMES] * 2
    for view, frames in zip(sheet.views, seen.draws.frames):
        assert (view.labels[0], view.labels[-1]) == (f"frame {frames[0]}", f"frame {frames[-1]}")
    texts = [text.get_text() for text in draw_sheet("title", [sheet]).axes[0].texts]
    assert any(text.startswith("…") and text.endswith("name .mp4") for text in texts)
    assert all(len(text) <= 120 for text in texts)


def test_the_verb_writes_a_picture(video_folder, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    options = [
        "--out",
        str(out),
        "--videos",
        "2",
        "--clip.size",
        "32",
        "--clip.frames",
        "4",
        "--workers",
        "0",
    ]
    assert main(["show", str(video_folder), *options]) == 0
    assert "2 videos, 4 clips" in capsys.readouterr().out
    height, width = imread(out).shape[:2]
    assert height > 4 * 2 * 112
    assert width > 4 * 112
    first = out.read_bytes()
    assert main(["show", str(video_folder), *options, "--epoch", "1"]) == 0
    assert out.read_bytes() != first


def test_the_verb_writes_a_page_that_needs_no_other_file(video_folder, tmp_path, capsys):
    out = tmp_path / "a" / "new" / "folder" / "sheet.html"
    assert main(["show", str(video_folder), "--out", str(out), "--videos", "1", "--workers", "0"]) == 0
    assert f"1 video, 2 clips: {out}" in capsys.readouterr().out
    page = out.read_text()
    assert page.count('src="data:image/png;base64,') == 1
    assert re.search(r'alt="[^"]*clip 1: crop \d+ x \d+', page)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)


def test_a_file_that_cannot_be_decoded_is_named_and_left_out(video_folder, tmp_path, capsys, monkeypatch):
    refused = []

    def fail_once(video, *arguments, **options):
        if not refused:
            refused.append(video.path)
            raise BadVideo(video.path, "frame 3 is damaged")
        return see_video(video, *arguments, **options)

    monkeypatch.setattr("bodvcl.cli.data_show.see_video", fail_once)
    out = tmp_path / "sheet.png"
    assert main(["show", str(video_folder), "--out", str(out), "--videos", "1", "--workers", "0"]) == 0
    assert f"left out: {refused[0]}: frame 3 is damaged" in capsys.readouterr().err
    assert out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "sheet.jpg"], "expected a name that ends in .png or .html"),
        (["--videos", "0"], "--videos: input should be greater than or equal to 1"),
        (["--epoch", "-1"], "--epoch: input should be greater than or equal to 0"),
        (["--out", "/dev/null/folder/sheet.png", "--videos", "1", "--workers", "0"], "cannot write"),
        (["--clip.sise", "32"], "unknown option --clip.sise"),
    ],
)
def test_mistakes_are_one_line(video_folder, capsys, options, message):
    assert main(["show", str(video_folder), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_what_training_refuses_to_mirror_is_not_shown_mirrored(tmp_path, capsys):
    write_video(tmp_path / "a.mp4", 20)
    (tmp_path / "list.csv").write_text("path,label\na.mp4,turn left\n")
    command = ["show", str(tmp_path / "list.csv"), "--out", str(tmp_path / "sheet.png"), "--workers", "0"]
    assert main([*command, "--augment.flip", "0.5"]) == 2
    assert "the class 'turn left'" in capsys.readouterr().err
    assert main([*command, "--config", "scenes"]) == 2
    assert main(command) == 0


def test_the_data_come_first(capsys):
    assert main(["show", "--videos", "2", "folder"]) == 2
    assert "DATA comes first" in capsys.readouterr().err


def test_what_is_seen_depends_on_seed_and_epoch(good_video):
    video = probe_video(good_video)
    config = TrainConfig(clip=ClipConfig(frames=3, size=16), augment=RECIPE)
    base = see(video, 0, config, 0)
    assert np.array_equal(see(video, 0, config, 0).after, base.after)
    assert not np.array_equal(see(video, 0, config, 1).after, base.after)
    assert not np.array_equal(see(video, 0, replace(config, seed=1), 0).after, base.after)
