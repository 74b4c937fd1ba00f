"""A video listed under several names is one video: trained on once, and never both learnt and tested."""

from __future__ import annotations

import csv
import os
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from video_files import varied_copy, write_video

from bodvcl.data.files.identity import first_of_each, same_files
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.repeats import marked_repeats
from bodvcl.data.files.scan import scan
from bodvcl.data.sets.rows import Segment, VideoRow
from bodvcl.errors import DataError
from bodvcl.evaluate.splits import divide, refuse_shared, shared, without_shared

CONTENTS = 4
ALIASES = ("plain", "dot", "up", "absolute", "link", "folder link", "hard link", "copy", "renamed copy")


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """Four videos with the same frames, each under nine names."""
    root = tmp_path_factory.mktemp("world")
    (root / "v").mkdir()
    (root / "w").symlink_to("v", target_is_directory=True)
    tiny = write_video(root / "tiny" / "tiny.mp4", 6, size=(32, 80))
    for number in range(CONTENTS):
        file = varied_copy(tiny, root / "v" / f"{number}.mp4")
        (root / f"link{number}.mp4").symlink_to(file)
        os.link(file, root / f"hard{number}.mp4")
        shutil.copy(file, root / f"copy{number}.mp4")
        shutil.copy(file, root / f"other name {number}.mkv")
    return root


def written(root: Path, number: int, alias: str) -> str:
    """One of the names of a video, as a list writes it."""
    return {
        "plain": f"v/{number}.mp4",
        "dot": f"./v//{number}.mp4",
        "up": f"v/../v/{number}.mp4",
        "absolute": f"{root}/v/{number}.mp4",
        "link": f"link{number}.mp4",
        "folder link": f"w/{number}.mp4",
        "hard link": f"hard{number}.mp4",
        "copy": f"copy{number}.mp4",
        "renamed copy": f"other name {number}.mkv",
    }[alias]


ENTRIES = st.lists(
    st.tuples(
        st.integers(0, CONTENTS - 1),
        st.sampled_from(ALIASES),
        st.sampled_from(["train", "Train", "test", "val", "", "extra"]),
        st.sampled_from(["", "a", "b"]),
    ),
    min_size=1,
    max_size=14,
)


def scanned(root: Path, entries):
    with open(root / "list.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split", "label"])
        writer.writerows(
            [written(root, number, alias), split, label] for number, alias, split, label in entries
        )
    return scan(root / "list.csv", clip=None, workers=0, progress=False)


@settings(max_examples=60)
@given(entries=ENTRIES)
def test_each_content_is_trained_on_once(world, entries):
    found = scanned(world, entries)
    of = {os.path.join(world, written(world, number, alias)): number for number, alias, *_ in entries}
    splits = [{"Train": "train"}.get(split, split) for *_, split, _ in entries]
    listed = defaultdict(lambda: defaultdict(list))
    for (number, _, _, label), split in zip(entries, splits):
        listed[split][number].append(label)

    assert [(of[v.path], v.split) for v in found.videos] == list(
        dict.fromkeys((number, split) for (number, *_), split in zip(entries, splits))
    )
    for video in found.videos:
        labels = set(listed[video.split][of[video.path]]) - {""}
        assert video.labels["label"] == (labels.pop() if len(labels) == 1 else "")

    repeated = {number for number in range(CONTENTS) if sum(number == n for n, *_ in entries) > 1}
    assert {of[repeat.path] for repeat in found.repeats} == repeated
    assert {of[video.path] for video in found.videos if video.content} == repeated
    assert any("listed more than once" in line for line in found.summary()) == bool(repeated)
    disputed = {n for split in listed.values() for n, labels in split.items() if len(set(labels) - {""}) > 1}
    assert {of[repeat.path] for repeat in found.repeats if repeat.disputed} == disputed

    wanted = ["train"] if "train" in splits else ["", "extra"]
    trained = {number for (number, *_), split in zip(entries, splits) if split in wanted}
    if trained:
        part = found.training_part()
        assert sorted(of[video.path] for video in part.videos) == sorted(trained)
        assert part.text.startswith(f"trains on {len(trained)} of {len({n for n, *_ in entries})} video")
    else:
        with pytest.raises(DataError, match="no video to train on"):
            found.training_part()


@settings(max_examples=60)
@given(entries=ENTRIES)
def test_no_content_is_both_learnt_and_tested(world, entries):
    videos = scanned(world, entries).videos
    contents = dict.fromkeys(video.content or video.path for video in videos)
    division = divide(videos)
    both = shared(videos, division)
    if division.train is None:
        chosen = [videos[row].content or videos[row].path for row in division.rows]
        assert len(chosen) == len(set(chosen)) <= len(contents)
        assert both == []
        return
    parts = [
        {videos[row].content or videos[row].path for row in division.rows[part]}
        for part in (division.train, ~division.train)
    ]
    assert {videos[test].content for test, _ in both} == parts[0] & parts[1]
    if not both:
        refuse_shared(videos, division)
        assert without_shared(videos) == videos
        return
    with pytest.raises(DataError, match=r"would both train and be tested on: .*--drop-overlap") as caught:
        refuse_shared(videos, division)
    assert videos[both[0][0]].path in str(caught.value)
    kept = without_shared(videos)
    assert shared(kept, divide(kept)) == []
    gone = [video for video in videos if video not in kept]
    assert {videos[row].path for row, _ in both} <= {video.path for video in gone}
    assert all((video.content or video.path) in parts[0] for video in gone)


def test_files_of_one_size_and_the_same_frames_are_compared_to_the_last_byte(tmp_path):
    tiny = write_video(tmp_path / "tiny" / "tiny.mp4", 6, size=(32, 80)).read_bytes()
    size = 2**21
    body = bytearray(tiny + (8 + size).to_bytes(4, "big") + b"free" + bytes(size))
    (tmp_path / "a.mp4").write_bytes(body)
    (tmp_path / "same.mp4").write_bytes(body)
    body[len(tiny) + size // 2 + 12345] = 1  # between the blocks that are looked at first
    (tmp_path / "one byte.mp4").write_bytes(body)
    videos = [probe_video(tmp_path / name) for name in ("a.mp4", "one byte.mp4", "same.mp4")]
    first = first_of_each(videos, progress=False)
    assert [Path(first[video.path]).name for video in videos] == ["a.mp4", "one byte.mp4", "a.mp4"]


def test_only_files_that_may_be_the_same_are_opened(tmp_path, monkeypatch):
    videos = [probe_video(write_video(tmp_path / f"{n}.mp4", 6 + n, size=(32, 80))) for n in range(3)]
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("a file was opened"))
    assert first_of_each([*videos, videos[0]], progress=False) == {video.path: video.path for video in videos}


def test_a_file_that_cannot_be_read_any_more_is_like_no_other(tmp_path):
    video = probe_video(write_video(tmp_path / "a.mp4", 6, size=(32, 80)))
    gone = [replace(video, path=str(tmp_path / name)) for name in ("gone.mp4", "gone too.mp4")]
    assert first_of_each(gone, progress=False) == {one.path: one.path for one in gone}


def test_rows_are_marked_without_opening_files(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"a")
    (tmp_path / "b.mp4").write_bytes(b"a")
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    paths = [str(tmp_path / name) for name in ("a.mp4", "b.mp4", "link.mp4", "gone.mp4", "gone.mp4")]
    assert same_files(paths) == {paths[0]: paths[0], paths[1]: paths[1], paths[2]: paths[0]}
    rows = marked_repeats([VideoRow(path) for path in paths])
    assert [row.content for row in rows] == [paths[0], "", paths[0], "", ""]
    parts = [VideoRow(paths[0], "train", segment=Segment(n, n + 1, f"{n}.mp4")) for n in range(2)]
    marked = marked_repeats(parts)
    assert [row.content for row in marked] == ["", ""]
    assert [row.span for row in marked] == [(paths[0], 0, 1), (paths[0], 1, 2)]
