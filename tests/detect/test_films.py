"""Clips around a second of a film: by time, from whole films, 15-minute files and extracted frames."""

from __future__ import annotations

import numpy as np
import pytest
from data.video_files import barcode, read_barcode, write_video
from PIL import Image

from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.video import BadVideo
from bodvcl.detect.films import Film, clip_numbers, open_films, shows
from bodvcl.errors import DataError


def test_the_frame_in_the_middle_is_that_of_the_second():
    times = 900 + np.arange(300) / 25
    assert clip_numbers(times, 905, 4, 10).tolist() == [105, 115, 125, 135]
    assert clip_numbers(times, 905, 5, 2).tolist() == [121, 123, 125, 127, 129]


def test_steps_of_a_rate_are_taken_by_time():
    """8 x 8 at 30 frames per second spans 64 / 30 s, whatever the rate of the film."""
    times = np.arange(300) / 15
    assert clip_numbers(times, 10, 8, 8, fps=30).tolist() == [134, 138, 142, 146, 150, 154, 158, 162]
    slow, fast = np.arange(3000) / 24, np.arange(7000) / 60
    for at in (slow, fast):
        shown = at[clip_numbers(at, 20, 8, 8, fps=30)]
        assert (np.abs(shown - (20 + (np.arange(8) - 4) * 8 / 30)) < 1 / 24).all()


def test_beyond_the_ends_the_outer_frames_are_repeated():
    times = 10 + np.arange(50) / 25
    assert clip_numbers(times, 10, 4, 2).tolist() == [0, 0, 0, 2]
    assert clip_numbers(times, 11.96, 4, 2).tolist() == [45, 47, 49, 49]
    assert clip_numbers(times, 11.96, 4, 2, fps=25).tolist() == [45, 47, 49, 49]
    assert [shows(times, second) for second in (9.9, 10, 11.96, 11.99, 12.2)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_frames_of_a_file_and_images(tmp_path):
    info = probe_video(str(write_video(tmp_path / "film.mp4", 60, fps=30)))
    folder = tmp_path / "frames" / "film"
    folder.mkdir(parents=True)
    for number in range(60):
        Image.fromarray(barcode(number, 48, 80)).save(folder / f"film_{number + 1:06d}.jpg", quality=95)
    files = tuple(str(path) for path in sorted(folder.iterdir()))
    for film in (Film("film", 900, info), Film("film", 900, files)):
        numbers = clip_numbers(film.times(), 901, 6, 12)
        assert [read_barcode(frame) for frame in film.read(numbers)] == [0, 6, 18, 30, 42, 54]
    (folder / "film_000031.jpg").write_bytes(b"no image")
    with pytest.raises(BadVideo, match="film: images 1 to 55"):
        Film("film", 900, files).read(numbers)


def ava(root, folder: str):
    texts = {
        "ava_train_v2.2.csv": "one,0902,0.1,0.1,0.5,0.5,1,0\n",
        "ava_val_v2.2.csv": "two,0902,0.1,0.1,0.5,0.5,1,0\n",
        "ava_action_list_v2.2_for_activitynet_2019.pbtxt": 'item {\n  name: "sit"\n  id: 1\n}\n',
    }
    (root / "annotations").mkdir(parents=True)
    for name, text in texts.items():
        (root / "annotations" / name).write_text(text)
    write_video(root / folder / "one.mp4", 30)
    write_video(root / folder / "two.mp4", 40)
    return root


@pytest.mark.parametrize(("folder", "begins"), [("videos", 0), ("videos_15min", 900), ("clips", 900)])
def test_where_files_begin(tmp_path, folder, begins):
    root = ava(tmp_path / "AVA", folder)
    films = open_films(f"ava:{root}", root, extracted=False, begins=None, workers=0)
    assert {name: film.times()[0] for name, film in films.items()} == {"one": begins, "two": begins}
    assert len(films["two"].times()) == 40
    films = open_films(f"ava:{root}", root, extracted=False, begins=901.5, workers=0)
    assert films["one"].times()[0] == 901.5


def test_extracted_frames_that_do_not_exist(tmp_path):
    root = ava(tmp_path / "AVA", "videos")
    with pytest.raises(DataError, match=r"no folder frames/<id>.*drop --extracted"):
        open_films(f"ava:{root}", root, extracted=True, begins=None, workers=0)
