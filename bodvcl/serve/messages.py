"""Requests and responses as values: the rules of the server that need no socket."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every response: nothing is loaded from elsewhere, and no other page reads or embeds this one."""

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


class Request(NamedTuple):
    """What a browser asks for; names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


class Response(NamedTuple):
    """What it gets."""

    status: HTTPStatus
    kind: str
    body: bytes
    headers: Mapping[str, str] = {}


class Refused(Exception):
    """A request that is not answered as asked.

    Args:
        status: why, as a number.
        reason: why, in a sentence.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def as_json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """A value for the page; it is asked for anew every time."""
    body = json.dumps(value, ensure_ascii=True, allow_nan=False).encode()
    return Response(status, "application/json", body, {"Cache-Control": "no-store"})


def refusal(error: Refused) -> Response:
    """The reason as text that a person and the page can read."""
    return Response(error.status, "text/plain; charset=utf-8", f"{error}\n".encode())


def partial(response: Response, wanted: str | None) -> Response:
    """The part of a whole response that a ``Range`` header asks for (RFC 9110, 14.2).

    Args:
        response: the whole.
        wanted: the header; None, or of a form other than one range of bytes: the whole is sent.
    """
    whole = response._replace(headers={**response.headers, "Accept-Ranges": "bytes"})
    match = _RANGE.fullmatch(wanted or "")
    if response.status != HTTPStatus.OK or match is None or match[1] == match[2] == "":
        return whole
    size = len(response.body)
    first = int(match[1]) if match[1] else max(size - int(match[2]), 0)
    last = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
    if first >= size or (match[1] and match[2] and int(match[2]) < first):
        unknown = {**whole.headers, "Content-Range": f"bytes */{size}"}
        return Response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "text/plain", b"", unknown)
    headers = {**whole.headers, "Content-Range": f"bytes {first}-{last}/{size}"}
    return Response(HTTPStatus.PARTIAL_CONTENT, response.kind, response.body[first : last + 1], headers)


def own_host(host: str | None, names: frozenset[str], port: int) -> bool:
    """Whether a ``Host`` header names this server.

    A page elsewhere can let its own name lead here (DNS rebinding); its requests carry that name. An address
    in numbers cannot be such a name, and counts if the server was opened for others.

    Args:
        host: the header.
        names: names and addresses of this server in lower case; "*" allows every address in numbers.
        port: its port.
    """
    name, _, given = (host or "").lower().rpartition(":")
    if not given.isdecimal() or host is None or host.endswith("]"):
        name, given = (host or "").lower(), "80"
    if int(given) != port:
        return False
    return name in names or ("*" in names and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
