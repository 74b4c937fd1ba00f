"""Tar files of videos for tests, and a web server that sends parts of files."""

from __future__ import annotations

import http.server
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.source import ClipSource
from bodvcl.data.tars.held import Held
from bodvcl.errors import DataError


def write_tar(path: Path, videos: Mapping[str, Path], notes: Mapping[str, Any] | None = None) -> Path:
    """A tar file: member name to video file; name of a .cls or .json member to its content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as out:
        for name, video in videos.items():
            out.add(video, name)
        for name, content in (notes or {}).items():
            text = content if isinstance(content, str) else json.dumps(content)
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            out.addfile(entry, io.BytesIO(text.encode()))
    return path


def in_tars(videos: Sequence[Path], folder: Path, per_tar: int) -> list[Path]:
    """The videos in order, so many in each of train-000.tar, train-001.tar ..."""
    parts = [videos[start : start + per_tar] for start in range(0, len(videos), per_tar)]
    return [
        write_tar(folder / f"train-{n:03d}.tar", {video.name: video for video in part})
        for n, part in enumerate(parts)
    ]


def held_in_tar(videos: Sequence[VideoInfo], path: Path) -> list[VideoInfo]:
    """The same videos as members of one tar file."""
    write_tar(path, {Path(video.path).name: Path(video.path) for video in videos})
    with tarfile.open(path) as archive:
        places = {entry.name: Held(str(path), entry.offset_data, entry.size) for entry in archive}
    return [replace(v, path=f"{path}/{Path(v.path).name}", held=places[Path(v.path).name]) for v in videos]


def assert_a_tar_gives_the_same(
    source_of: Callable[..., ClipSource], videos: Sequence[VideoInfo], tar: Path
) -> None:
    """A source gives the same clips of videos in a tar file, and names them when the file is gone."""
    inside = held_in_tar(videos, tar)
    both = zip(source_of(inside).epoch(0), source_of(videos).epoch(0), strict=True)
    assert all(torch.equal(own.clips, other.clips) for own, other in both)
    tar.unlink()
    source = source_of(inside, max_bad=1)
    with pytest.raises(DataError, match="No such file or directory"):
        next(iter(source.epoch(1)))
    assert set(source.failed.values()) == {"No such file or directory"}


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; ``?`` and what follows is ignored."""

    ranges = True
    answers = True
    asked: list[str] = []  # noqa: RUF012  # shared on purpose

    def do_GET(self) -> None:
        if not self.answers:
            threading.Event().wait(20)
            return
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404)
            return
        content = file.read_bytes()
        wanted = self.headers.get("Range") if self.ranges else None
        self.asked.append(wanted or "all")
        self.send_response(206 if wanted else 200)
        if wanted:
            first, last = (int(n) for n in wanted.removeprefix("bytes=").split("-"))
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            content = content[first : last + 1]
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server(folder: Path, *, ranges: bool = True, answers: bool = True) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the list of the ranges that it was asked for.

    Args:
        folder: its files.
        ranges: it sends parts of files; else always the whole.
        answers: it answers; else it accepts a question and is silent.
    """
    handler = type("Handler", (_Handler,), {"ranges": ranges, "answers": answers, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
    finally:
        server.shutdown()
        server.server_close()
