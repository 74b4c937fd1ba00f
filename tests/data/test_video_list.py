"""Which videos a run trains on: equal at another place, and every difference is named."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bodvcl.data.files.video_list import VideoList, difference, list_videos

NAME = st.text(st.characters(codec="utf-8", exclude_characters="/\0.", exclude_categories=["Cs"]), min_size=1)
PATHS = st.lists(
    st.lists(NAME, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".mp4"),
    min_size=3,
    max_size=8,
    unique=True,
)
ROOT = st.lists(NAME, min_size=0, max_size=4).map(lambda parts: os.path.join("/", *parts))


def info(path: str, frames: int = 20) -> SimpleNamespace:
    """What a list needs to know of a video."""
    return SimpleNamespace(
        path=path, frames=frames, width=64, height=48, whole=None, image_bytes=0, fingerprint=7
    )


def listed(root: str, paths: list[str]) -> VideoList:
    return list_videos([info(os.path.join(root, path)) for path in paths])


@given(PATHS, ROOT, ROOT)
def test_the_same_files_at_another_place_are_no_difference(paths, here, there):
    before = listed(here, paths)
    assert difference(before, listed(there, paths)) is None
    assert VideoList.load(before.dump()) == before


@given(PATHS, ROOT, st.data())
def test_another_order_is_a_difference(paths, root, data):
    other = data.draw(st.permutations(paths))
    assume(other != paths)
    assert difference(listed(root, paths), listed(root, other)) == "the same videos in another order"


@given(PATHS, ROOT, st.data())
def test_what_appeared_vanished_and_changed_is_counted(paths, root, data):
    """Whatever becomes of the deepest common folder."""
    fate = st.sampled_from(["appeared", "vanished", "changed"])
    fates = data.draw(st.lists(fate, min_size=1, max_size=(len(paths) - 1) // 2))
    numbered = [
        (number, os.path.join(root, name), fates[number] if number < len(fates) else "stays")
        for number, name in enumerate(paths)
    ]
    before = [info(path, number) for number, path, fate in numbered if fate != "appeared"]
    now = [
        info(path, number + 100 * (fate == "changed"))
        for number, path, fate in numbered
        if fate != "vanished"
    ]
    said = difference(list_videos(before), list_videos(now))
    for what in ("appeared", "vanished", "changed"):
        count = fates.count(what)
        assert (f"{count} {what} (" in said) if count else (what not in said)


@pytest.mark.parametrize("fact", ["frames", "width", "height"])
def test_a_file_that_is_another_is_named(fact):
    before, after = [info("/d/a.mp4"), info("/d/b.mp4")], [info("/d/a.mp4"), info("/d/b.mp4")]
    setattr(after[1], fact, 7)
    assert difference(list_videos(before), list_videos(after)) == "1 changed (b.mp4)"


def test_a_file_of_another_length_in_bytes_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"one")
    videos = [info(str(tmp_path / "a.mp4")), info(str(tmp_path / "b.mp4"))]
    before = list_videos(videos)
    os.utime(tmp_path / "a.mp4", (0, 0))
    assert difference(before, list_videos(videos)) is None
    (tmp_path / "a.mp4").write_bytes(b"other")
    assert difference(before, list_videos(videos)) == "1 changed (a.mp4)"


def test_some_names_are_told():
    before = listed("/d", ["a.mp4", "b.mp4"])
    now = listed("/d", ["b.mp4", *(f"c{n}.mp4" for n in range(5))])
    assert difference(before, now) == "5 appeared (c0.mp4, c1.mp4, c2.mp4, ...), 1 vanished (a.mp4)"


def test_relative_and_absolute_paths_are_the_same(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    relative = list_videos([info("d/a.mp4"), info("d/b.mp4")])
    assert relative == listed(str(tmp_path / "d"), ["a.mp4", "b.mp4"])
