"""The page that a search writes: one file, safe, bounded, with the reason in place of what cannot be read."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest
from data.video_files import write_video

from bodvcl.serve import results_page as module
from bodvcl.serve.results_page import Group, Shown, results_page


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> str:
    return str(write_video(tmp_path_factory.mktemp("results") / "a <b>.avi", 20, codec="mpeg4"))


class Balanced(HTMLParser):
    """Tags that are opened and not closed, and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href", "data-preview")]
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_videos_are_in_the_page_and_nothing_is_fetched(video):
    group = Group("By motion", "Nearest first.", [Shown(video, 0, 0.8, "first\nscore 0.9")] * 2)
    text = results_page("Like <this>", [group], {"file": "e & f"})
    found = Balanced(text)
    assert found.open == []
    assert len(found.addresses) == 4
    assert all(
        one.startswith(("data:image/jpeg;base64,", "data:video/mp4;base64,")) for one in found.addresses
    )
    moving = base64.b64decode(re.search(r'data-preview="data:video/mp4;base64,([^"]+)"', text)[1])
    assert moving[4:8] == b"ftyp"
    assert "default-src 'none'" in text
    for escaped in ("Like &lt;this&gt;", "e &amp; f", "a &lt;b&gt;.avi", "score 0.9", "By motion"):
        assert escaped in text
    assert "prefers-color-scheme: dark" in text


def test_what_cannot_be_read_says_why(video):
    shown = [Shown("/no/such.mp4", 0, 1, "gone"), Shown(video, 0, 0.8, "there")]
    text = results_page("Title", [Group("Found", "", shown), Group("Empty", "", [])], {})
    assert "no such file" in text
    assert text.count("data-preview=") == 1
    assert "Nothing was found." in text


def test_what_there_is_no_room_for_is_counted(video, monkeypatch):
    monkeypatch.setattr(module, "MOST_ITEMS", 3)
    monkeypatch.setattr(module, "_pictures", lambda wanted: module._Pictures(b"", b"", "not made"))
    items = [Shown(video, 0, 0.8, f"video {k}") for k in range(2)]
    text = results_page("Title", [Group(str(k), "", items) for k in range(4)], {})
    assert text.count('<div class="clip"') == 3
    assert "Not shown: 1 more video." in text
    assert "Not shown: 2 more groups with 4 videos." in text
