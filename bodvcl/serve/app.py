"""What the server answers: the page, rows and their neighbours, and previews by the number of a row.

A request never holds a path: files are found by the number of their row, or by a name in a fixed table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from bodvcl.data.files.video import BadVideo
from bodvcl.search.space import Space
from bodvcl.serve.kept import Kept
from bodvcl.serve.messages import Refused, Request, Response, as_json, partial, refusal
from bodvcl.serve.preview import LARGE, TILE, moving, shown_part, still
from bodvcl.serve.rows import Rows, labels_of, when

MOST_AT_ONCE = 200
"""Rows of one answer."""

_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_PARTS = ("page.css", "clips.css", "page.js", "pieces.js", "state.js", "keys.js", "clips.js", "icon.svg")
_PAGES = {"/": "page.html"} | {f"/{name}": name for name in _PARTS}
_MEDIA = re.compile(r"/(still|preview|video)/(\d{1,12})\.(jpg|mp4)", re.ASCII)
_MEDIA_KINDS = {
    "still": ("jpg", "image/jpeg"),
    "preview": ("mp4", "video/mp4"),
    "video": ("mp4", "video/mp4"),
}

Parameters = dict[str, str]


class App:
    """Requests to responses; safe for many threads.

    Args:
        space: the rows and which are near.
        name: name of their file, for the head of the page.
    """

    def __init__(self, space: Space, name: str) -> None:
        self._space, self._rows, self._name = space, Rows(space.embeddings), name
        self._kept, self._going = Kept(), True
        folder = resources.files("bodvcl.serve")
        self._pages = {at: (file, folder.joinpath(file).read_bytes()) for at, file in _PAGES.items()}

    def close(self) -> None:
        """Give up the previews that are being made."""
        self._going = False

    def respond(self, request: Request) -> Response:
        """Answer a request; what is wrong with it becomes a response, too."""
        try:
            if request.method not in ("GET", "HEAD"):
                raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD are answered")
            return self._answer(request)
        except Refused as error:
            extra = {"Allow": "GET, HEAD"} if error.status == HTTPStatus.METHOD_NOT_ALLOWED else {}
            return refusal(error)._replace(headers=extra)

    def _answer(self, request: Request) -> Response:
        try:
            parts = urlsplit(request.target)
            given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise Refused(HTTPStatus.BAD_REQUEST, "the address is malformed") from None
        if parts.path in self._pages and not parts.query:
            file, body = self._pages[parts.path]
            return Response(
                HTTPStatus.OK, _KINDS[file.rpartition(".")[2]], body, {"Cache-Control": "no-cache"}
            )
        media = _MEDIA.fullmatch(parts.path)
        if media is not None and _MEDIA_KINDS[media[1]][0] == media[3] and not parts.query:
            return self._media(media[1], self._row(media[2]), request.headers)
        answers: Mapping[str, Callable[[Parameters], Any]] = {
            "/api/about": self._about,
            "/api/rows": self._list,
            "/api/near": self._near,
        }
        if parts.path not in answers:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such page")
        parameters = dict(given)
        answer = as_json(answers[parts.path](parameters))
        if parameters:
            raise Refused(HTTPStatus.BAD_REQUEST, f"unknown parameter {next(iter(parameters))[:40]!r}")
        return answer

    def _about(self, parameters: Parameters) -> dict[str, Any]:
        return {"name": self._name, **self._rows.about}

    def _list(self, parameters: Parameters) -> dict[str, Any]:
        """``from`` (number of the first hit), ``count``, ``text``, ``label.NAME``."""
        first = _whole(parameters.pop("from", "0"), "from")
        count = _whole(parameters.pop("count", "60"), "count", most=MOST_AT_ONCE)
        labels = labels_of(parameters)
        for name, _ in labels:
            del parameters[f"label.{name}"]
        try:
            found = self._rows.find((parameters.pop("text", ""), labels))
        except KeyError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"there is no label {error}") from None
        shown = found[first : first + count].tolist()
        return {"total": len(found), "from": first, "rows": [self._rows.show(row) for row in shown]}

    def _near(self, parameters: Parameters) -> dict[str, Any]:
        """``row``, ``motion`` (0 to 1), ``count``, ``same`` (1: also windows of the same video)."""
        row = self._row(parameters.pop("row", ""))
        motion = _share(parameters.pop("motion", "0.5"), "motion")
        count = _whole(parameters.pop("count", "24"), "count", most=MOST_AT_ONCE)
        same = _whole(parameters.pop("same", "0"), "same", most=1) == 1
        hits = self._space.near_row(row, motion, count, same_video=same)
        return {
            "of": {**self._rows.show(row), "part": self._part_shown(row)},
            "motion": motion,
            "hits": [
                {
                    **self._rows.show(hit.row),
                    "score": hit.score,
                    "appearance": hit.appearance,
                    "motion": hit.motion,
                }
                for hit in hits
            ],
        }

    def _part_shown(self, row: int) -> str:
        """Which part of a row its large preview shows; "" for all of it."""
        _, start, end = self._rows.part(row)
        shown = shown_part(start, end, LARGE.seconds)
        return "" if shown == (start, end) else when(*shown)

    def _media(self, kind: str, row: int, headers: Mapping[str, str]) -> Response:
        path, start, end = self._rows.part(row)
        mark = self._rows.mark(row)
        if mark is None:
            raise Refused(HTTPStatus.GONE, self._rows.show(row)["problem"])
        version = f'"{mark[0]:x}-{mark[1]:x}"'
        cached = {"Cache-Control": "private, no-cache", "ETag": version}
        if headers.get("if-none-match") == version:
            return Response(HTTPStatus.NOT_MODIFIED, "", b"", cached)
        look = LARGE if kind == "video" else TILE

        def make() -> bytes:
            if kind == "still":
                return still(path, start, end)
            return moving(path, start, end, look, going=lambda: self._going)

        try:
            body = self._kept.get((kind, row, mark), make)
        except BadVideo as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, error.reason) from error
        whole = Response(HTTPStatus.OK, _MEDIA_KINDS[kind][1], body, cached)
        same = headers.get("if-range", version) == version
        return partial(whole, headers.get("range") if same else None)

    def _row(self, text: str) -> int:
        row = _whole(text, "row")
        if row >= len(self._rows):
            last = len(self._rows) - 1
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no row {row}; the file has rows 0 to {last}")
        return row


def _whole(text: str, name: str, most: int = 10**12) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 12 and int(text) <= most):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} must be a whole number from 0 to {most}")
    return int(text)


def _share(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} must be a number from 0 to 1")
    return value
