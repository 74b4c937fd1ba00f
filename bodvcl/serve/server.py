"""The sockets: a server of this machine that hands every request to a function."""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bodvcl.errors import UserError
from bodvcl.serve.messages import SECURITY, Refused, Request, Response, own_host, refusal

Respond = Callable[[Request], Response]

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Server(ThreadingHTTPServer):
    """A server that listens as soon as it is made, and answers from :meth:`answer` on.

    Args:
        host: name or address of this machine to listen at.
        port: port; 0: a free one.

    Attributes:
        local: whether only this machine reaches it.

    Raises:
        UserError: the port is in use or not allowed, or the host is not one of this machine.
    """

    daemon_threads = True
    allow_reuse_address = True

    respond: Respond

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family, *_, address = found[0]
            super().__init__((str(address[0]), int(address[1])), _Handler)
        except socket.gaierror as error:
            raise UserError(f"--host {host}: {_NOT_HERE}") from error
        except OSError as error:
            raise UserError(_explained(error, host, port)) from error
        self.local = ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
        names = {*_LOOPBACK, _bracketed(host.lower())}
        self.names = frozenset(names if self.local else {*names, socket.gethostname().lower(), "*"})

    def answer(self, respond: Respond) -> None:
        """Answer until :meth:`shutdown`, or an interrupt.

        Args:
            respond: request to response, called in many threads.
        """
        self.respond = respond
        self.serve_forever()

    @property
    def url(self) -> str:
        """Address of the page."""
        anywhere = self.host in ("", "0.0.0.0", "::")
        return f"http://{socket.gethostname() if anywhere else _bracketed(self.host)}:{self.server_port}/"

    def server_bind(self) -> None:
        """Bind, without asking the network for the machine's name, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.host, int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error; anything else keeps its traceback."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "bodvcl", ""
    timeout = 60
    server: Server

    def _handle(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers)
        if not own_host(headers.get("host"), self.server.names, self.server.server_port):
            reason = f"this server is asked under a name that is not its own; open {self.server.url}"
            self._send(refusal(Refused(HTTPStatus.MISDIRECTED_REQUEST, reason)))
            return
        try:
            response = self.server.respond(request)
        except Exception:
            traceback.print_exc()
            reason = "bodvcl serve has failed at this request; its terminal says how"
            response = refusal(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, reason))
        self._send(response)

    def __getattr__(self, name: str) -> Any:
        """``do_GET``, ``do_POST`` and so on: a request of any method."""
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in {**SECURITY, **response.headers}.items():
            self.send_header(name, value)
        if response.status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", response.kind)
            self.send_header("Content-Length", str(len(response.body)))
        if self.command not in ("GET", "HEAD"):  # what it may have sent beside its head is not read
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Requests that are no HTTP."""
        self.close_connection = True
        self._send(refusal(Refused(HTTPStatus(code), message or "the request is malformed")))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what somebody looks at is not written down."""


_NOT_HERE = "not a name or an address of this machine; expected for example 127.0.0.1"


def _explained(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port} is in use by another program; give another one, or --port 0 for any free one"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: {_NOT_HERE}"
    if error.errno == errno.EACCES:
        return (
            f"--port {port} is not allowed for this user; give one above 1023, or --port 0 for any free one"
        )
    return f"cannot listen at {host}, port {port}: {error.strerror or error}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
