"""The verb and the sockets: what a user and a browser meet."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bodvcl.cli.main import main
from bodvcl.embed.file import read_embeddings, write_embeddings
from bodvcl.errors import UserError
from bodvcl.serve.app import App
from bodvcl.serve.server import Server


@pytest.fixture(scope="module")
def server(app: App) -> Iterator[Server]:
    with Server("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.answer, args=(app.respond,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(
    port: int, target: str = "/", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, target, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def raw(port: int, text: bytes) -> bytes:
    """What the server answers to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_every_answer_forbids_what_the_page_does_not_need(server):
    for target in ("/", "/api/about", "/still/1.jpg", "/nothing"):
        _, headers, _ = fetch(server.server_port, target)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert not any(name.lower().startswith("access-control") for name in headers)


def test_a_foreign_name_in_the_host_header_is_refused(server):
    port = server.server_port
    status, _, body = fetch(port, "/api/rows", Host=f"evil.example:{port}")
    assert status == 421
    assert f"open http://127.0.0.1:{port}/" in body.decode()
    assert b"look0" not in body
    assert fetch(port, "/api/rows", Host=f"localhost:{port}")[0] == 200
    assert raw(port, b"GET /api/rows HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 421")


def test_a_head_request_has_the_length_and_no_body(server):
    status, headers, body = fetch(server.server_port, "/page.js", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(fetch(server.server_port, "/page.js")[2])


@pytest.mark.parametrize("method", ["POST", "DELETE", "BREW"])
def test_other_methods_are_refused(method, server):
    status, headers, _ = fetch(server.server_port, "/api/rows", method)
    assert (status, headers["Allow"], headers["Connection"]) == (405, "GET, HEAD", "close")


def test_a_path_with_dots_is_refused_as_it_is_sent(server):
    host = f"Host: localhost:{server.server_port}\r\nConnection: close\r\n\r\n".encode()
    for target in (b"/preview/../../etc/passwd", b"/preview/%2e%2e/%2e%2e/etc/passwd", b"/../../etc/passwd"):
        answer = raw(server.server_port, b"GET " + target + b" HTTP/1.1\r\n" + host)
        assert answer.startswith(b"HTTP/1.1 404")
        assert b"root:" not in answer


def test_what_is_no_http_is_refused(server):
    assert b"Bad request version" in raw(server.server_port, b"GET / HTTP/9\r\n\r\n")
    assert (
        b" 414 " in raw(server.server_port, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n").splitlines()[0]
    )


def test_a_failure_of_the_server_is_an_answer_too(capsys):
    def fail(request: object) -> None:
        raise ZeroDivisionError

    with Server("localhost", 0) as server:
        thread = threading.Thread(target=server.answer, args=(fail,))
        thread.start()
        status, _, body = fetch(server.server_port)
        server.shutdown()
        thread.join()
    assert (status, b"terminal" in body) == (500, True)
    assert "ZeroDivisionError" in capsys.readouterr().err


def interrupting(port: int, number: signal.Signals, seen: list[int]) -> Callable[[], None]:
    """Asks the server for its page as soon as it answers, then sends this process a signal."""

    def run() -> None:
        try:
            for _ in range(600):
                try:
                    seen.append(fetch(port, "/api/about")[0])
                    return
                except OSError:
                    threading.Event().wait(0.05)
        finally:
            os.kill(os.getpid(), number)

    return run


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_it_serves_until_it_is_told_to_end(number, code, embedded, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen: list[int] = []
    thread = threading.Thread(target=interrupting(port, number, seen))
    thread.start()
    assert main(["serve", str(embedded), "--port", str(port)]) == code
    thread.join()
    assert seen == [200]
    out, err = capsys.readouterr()
    assert f"http://127.0.0.1:{port}/" in out
    assert "warning" not in err


def test_listening_for_others_is_said(embedded, capsys, monkeypatch):
    def interrupt(self: Server, respond: object) -> None:
        assert "*" in self.names
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "answer", interrupt)
    assert main(["serve", str(embedded), "--host", "0.0.0.0", "--port", "0"]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert "warning: everyone who can reach 0.0.0.0" in warning
    monkeypatch.setattr(Server, "answer", lambda self, respond: None)
    assert main(["serve", str(embedded), "--host", "localhost", "--port", "0"]) == 0
    assert not capsys.readouterr().err


def test_bad_input_is_one_line(embedded: Path, tmp_path, server, capsys):
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "other.parquet").write_text("a,b")
    rows = read_embeddings(embedded, ("still", "dynamic"))
    none = {name: getattr(rows, name)[:0] for name in ("paths", "video", "start", "end", "size", "modified")}
    labels = {name: values[:0] for name, values in rows.labels.items()}
    vectors = {kind: values[:0] for kind, values in rows.vectors.items()}
    write_embeddings(tmp_path / "norows.parquet", replace(rows, labels=labels, vectors=vectors, **none))
    for arguments, reason in [
        ([str(tmp_path / "none.parquet")], "no such file"),
        ([str(tmp_path / "empty.parquet")], "is not a file of bodvcl embed"),
        ([str(tmp_path / "norows.parquet"), "--port", "0"], "has no row"),
        ([str(tmp_path / "other.parquet")], "is not a file of bodvcl embed"),
        ([str(embedded), "--port", str(server.server_port)], "--port 0 for any free one"),
        ([str(embedded), "--host", "192.0.2.1"], "not a name or an address of this machine"),
        ([str(embedded), "--host", "no.such.invalid"], "not a name or an address of this machine"),
        ([str(embedded), "--port", "70000"], "--port: input should be less than or equal to 65535"),
    ]:
        assert main(["serve", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert reason in line


def test_the_server_listens_on_ipv6_too():
    try:
        server = Server("::1", 0)
    except UserError:
        pytest.skip("no IPv6 here")
    with server:
        assert server.url == f"http://[::1]:{server.server_port}/"
        assert server.local
