"""Requests and their responses, without a socket."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serve.conftest import AVI, BROKEN, CHANGED, GONE

from bodvcl.search.space import Space
from bodvcl.serve.app import App
from bodvcl.serve.messages import Request, Response, own_host, partial


def get(app: App, target: str, method: str = "GET", **headers: str) -> Response:
    return app.respond(Request(method, target, {k.replace("_", "-"): v for k, v in headers.items()}))


def ask(app: App, target: str) -> Any:
    response = get(app, target)
    assert response.status == HTTPStatus.OK, response.body
    return json.loads(response.body)


def test_the_page_and_all_its_parts_are_in_the_package(app):
    page = get(app, "/").body.decode()
    assert "http" not in page.replace("http-equiv", "")
    for part in ("/page.css", "/clips.css", "/page.js", "/icon.svg"):
        assert part in page
        assert get(app, part).status == HTTPStatus.OK
    for module in ("page", "keys"):
        for line in get(app, f"/{module}.js").body.decode().splitlines():
            if line.startswith("import"):
                assert (
                    get(app, line.split('"./')[1].replace('";', "").join(["/", ""])).status == HTTPStatus.OK
                )


def test_rows_are_paged_and_found_by_words_and_labels(app):
    def rows(query: str) -> list[int]:
        return [row["row"] for row in ask(app, f"/api/rows?{query}")["rows"]]

    assert ask(app, "/api/rows?count=5")["total"] == 12
    assert rows("from=10&count=5") == [10, 11]
    assert rows("from=100") == []
    assert rows("text=LOOK1/+move2") == [6]
    assert rows("text=move+3") == [3, 7, 11]
    assert rows("label.look=look+2&label.move=move+1") == [9]
    assert rows("text=nothing") == []
    assert rows("text=%5B.*") == [], "words are no patterns"


def test_neighbours_are_those_of_the_space_in_its_order(app: App, space: Space):
    for motion in (0, 0.3, 1):
        answer = ask(app, f"/api/near?row=5&motion={motion}&count=4")
        expected = space.near_row(5, motion, 4)
        assert [hit["row"] for hit in answer["hits"]] == [hit.row for hit in expected]
        assert [hit["score"] for hit in answer["hits"]] == pytest.approx([hit.score for hit in expected])
    by = [{hit["row"] for hit in ask(app, f"/api/near?row=5&motion={w}&count=2")["hits"]} for w in (0, 1)]
    assert by[0] < {4, 6, 7}
    assert by[1] == {1, 9}


def test_a_row_says_what_is_wrong_with_its_file(app):
    rows = ask(app, "/api/rows")["rows"]
    assert (rows[GONE]["problem"], rows[GONE]["playable"]) == ("the file is no longer there", False)
    assert rows[CHANGED]["problem"] == "the file has changed since it was embedded"
    assert rows[CHANGED]["playable"]
    assert not rows[AVI]["problem"]
    assert get(app, f"/preview/{GONE}.mp4").status == HTTPStatus.GONE
    broken = get(app, f"/still/{BROKEN}.jpg")
    assert broken.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert b"not readable as a video" in broken.body


def test_previews_can_be_asked_for_in_parts_and_again(app):
    whole = get(app, f"/preview/{AVI}.mp4")
    assert (whole.status, whole.kind, whole.headers["Accept-Ranges"]) == (HTTPStatus.OK, "video/mp4", "bytes")
    part = get(app, f"/preview/{AVI}.mp4", range="bytes=4-7")
    assert (part.status, part.body) == (HTTPStatus.PARTIAL_CONTENT, b"ftyp")
    assert part.headers["Content-Range"] == f"bytes 4-7/{len(whole.body)}"
    other = get(app, f"/preview/{AVI}.mp4", range="bytes=4-7", if_range='"of another version"')
    assert (other.status, other.body) == (HTTPStatus.OK, whole.body)
    again = get(app, f"/preview/{AVI}.mp4", if_none_match=whole.headers["ETag"])
    assert (again.status, again.body) == (HTTPStatus.NOT_MODIFIED, b"")
    assert get(app, f"/video/{AVI}.mp4").body[4:8] == b"ftyp"
    assert get(app, f"/still/{AVI}.jpg").body[:2] == b"\xff\xd8"


@given(
    st.binary(max_size=30),
    st.integers(0, 40) | st.none(),
    st.integers(0, 40) | st.none(),
)
def test_a_range_is_the_part_that_it_names(body, first, last):
    response = Response(HTTPStatus.OK, "video/mp4", body)
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    answer = partial(response, header)
    if first is None:
        expected = None if last is None else body[max(0, len(body) - last) :]
        bad = last == 0 or not body
    else:
        expected = body[first:] if last is None else body[first : last + 1]
        bad = first >= len(body) or (last is not None and last < first)
    if expected is None:
        assert (answer.status, answer.body) == (HTTPStatus.OK, body)
    elif bad:
        assert answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    else:
        assert (answer.status, answer.body) == (HTTPStatus.PARTIAL_CONTENT, expected)


@pytest.mark.parametrize("header", [None, "", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes=-"])
def test_other_ranges_get_the_whole(header):
    response = Response(HTTPStatus.OK, "video/mp4", b"abc")
    assert partial(response, header).body == b"abc"
    assert partial(response, header).status == HTTPStatus.OK


@pytest.mark.parametrize(
    "target",
    [
        "/preview/../../etc/passwd",
        "/preview/..%2f..%2fetc%2fpasswd",
        "/preview/%2e%2e/%2e%2e/etc/passwd.mp4",
        "/preview//etc/passwd.mp4",
        "/preview/1.mp4/../../../etc/passwd",
        "/preview/1.mp4%00",
        "/preview/-1.mp4",
        "/preview/1.jpg",
        "/preview/１.mp4",
        "/still/1.mp4",
        "/preview/1.mp4?path=/etc/passwd",
        "/page.html",
        "/../page.css",
        "//page.css",
        "/app.py",
        "/api",
        "http://elsewhere/etc/passwd",
        "*",
        "",
    ],
)
def test_nothing_but_rows_by_number_is_answered(app, target):
    assert get(app, target).status == HTTPStatus.NOT_FOUND


def test_no_path_of_a_request_reaches_the_file_system(app, embedded):
    for path in (embedded, embedded.parent / "look0" / "move0.mp4"):
        for target in (str(path), quote(str(path), safe=""), f"/preview/{path}", f"/api/rows/{path}"):
            assert get(app, target).status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("/preview/12.mp4", 404, "the file has rows 0 to 11"),
        ("/api/near?row=12", 404, "there is no row 12"),
        ("/api/near?row=one", 400, "row must be a whole number"),
        ("/api/near?row=", 400, "row must be a whole number"),
        ("/api/near?motion=0.5", 400, "row must be a whole number"),
        ("/api/near?row=１", 400, "row must be a whole number"),
        ("/api/near?row=99999999999999999999", 400, "row must be a whole number"),
        ("/api/near?row=1&motion=nan", 400, "motion must be a number from 0 to 1"),
        ("/api/near?row=1&motion=1.5", 400, "motion must be a number from 0 to 1"),
        ("/api/near?row=1&count=100000", 400, "count must be a whole number from 0 to 200"),
        ("/api/rows?from=-1", 400, "from must be a whole number"),
        ("/api/rows?label.size=3", 400, "there is no label 'size'"),
        ("/api/rows?path=/etc/passwd", 400, "unknown parameter 'path'"),
        ("/api/rows?&&", 400, "the address is malformed"),
        ("http://[", 400, "the address is malformed"),
    ],
)
def test_a_wrong_request_gets_a_reason(app, target, status, reason):
    response = get(app, target)
    assert response.status == status
    assert reason in response.body.decode()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed(app, method):
    response = get(app, "/api/about", method)
    assert (response.status, response.headers["Allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, "GET, HEAD")


@pytest.mark.parametrize(
    ("host", "mine"),
    [
        ("localhost:8000", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("localhost:8001", False),
        ("localhost", False),
        ("evil.example:8000", False),
        ("localhost.evil.example:8000", False),
        ("127.0.0.1.evil.example:8000", False),
        ("192.168.1.5:8000", False),
        (":8000", False),
        ("", False),
        (None, False),
    ],
)
def test_only_names_of_this_server_are_answered(host, mine):
    names = frozenset({"localhost", "127.0.0.1", "[::1]"})
    assert own_host(host, names, 8000) is mine


def test_a_server_for_others_is_found_by_address_not_by_a_foreign_name():
    names = frozenset({"localhost", "box", "*"})
    assert own_host("192.168.1.5:8000", names, 8000)
    assert own_host("[fe80::1]:8000", names, 8000)
    assert own_host("box:8000", names, 8000)
    assert not own_host("evil.example:8000", names, 8000)
    assert own_host("localhost", frozenset({"localhost"}), 80)
