"""Answers of worker processes arrive whole with and without shared memory."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections import namedtuple

import pytest
import torch

from bodvcl.config.schema import ShapesConfig
from bodvcl.data.made import shapes
from bodvcl.data.workers import parcels
from bodvcl.data.workers.pool import WorkerPool
from bodvcl.errors import DataError, UserError

Pair = namedtuple("Pair", ["first", "second"])


@dataclasses.dataclass
class Batch:
    clips: torch.Tensor
    more: object


CONTENTS = [
    torch.arange(1000),
    Batch(torch.ones(3, 4), {"a": [torch.zeros(5), None]}),
    Pair(torch.arange(4.0), "text"),
]


def flat(content):
    if isinstance(content, torch.Tensor):
        return content.tolist()
    if isinstance(content, Batch):
        return flat([content.clips, content.more])
    if isinstance(content, dict):
        return {key: flat(value) for key, value in content.items()}
    return [flat(part) for part in content] if isinstance(content, list | tuple) else content


@pytest.mark.parametrize("content", CONTENTS, ids=["tensor", "dataclass", "tuple"])
@pytest.mark.parametrize("fault", ["none", "full", "not there", "refuses"])
def test_a_parcel_holds_what_was_packed(content, fault, monkeypatch):
    if fault == "full":
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result([4096] * 2 + [10, 0, 0] + [0] * 6))
    if fault == "not there":
        monkeypatch.setattr(parcels, "SHARED", "/no/such/folder")
    if fault == "refuses":
        monkeypatch.setattr(parcels.ForkingPickler, "dumps", _refuse)
    data, shared = parcels.pack(content)
    assert shared == (fault == "none")
    assert flat(pickle.loads(data)) == flat(content)


def _refuse(content):
    raise RuntimeError(
        "unable to open shared memory object </torch_1> in read-write mode: Read-only file system"
    )


def test_what_needs_no_shared_memory_is_not_told_that_there_is_none(monkeypatch):
    monkeypatch.setattr(parcels, "SHARED", "/no/such/folder")
    assert parcels.pack({"rows": [1, "a", None]})[1]


def _answer(task, note):
    note(task)
    if task == 3:
        raise DataError("wrong: expected right")
    if task == 4:
        raise MemoryError("Unable to allocate 7.28 TiB")
    if task == 5:
        raise TypeError("a fault")
    return torch.full((1000,), task)


def test_workers_without_shared_memory_say_so_once(monkeypatch):
    monkeypatch.setattr(parcels, "_room_for", lambda size: False)
    with WorkerPool(_answer, 2) as pool, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for task in (0, 1, 2):
            pool.submit(task)
        assert [pool.receive()[0].item() for _ in range(3)] == [0, 1, 2]
    assert [str(w.message)[:43] for w in said] == ["shared memory (/dev/shm) is full, too small"]


@pytest.mark.parametrize(
    ("task", "kind", "text"),
    [
        (3, DataError, "wrong: expected right"),
        (4, UserError, r"the memory of this machine is full \(Unable to allocate 7.28 TiB\): .*--workers"),
        (5, RuntimeError, r"in a decoding process:\n(.|\n)*TypeError: a fault"),
    ],
)
def test_errors_of_the_user_stay_errors_of_the_user(task, kind, text):
    with WorkerPool(_answer, 1) as pool:
        pool.submit(task)
        with pytest.raises(kind, match=text):
            pool.receive()
        pool.submit(0)
        assert pool.receive()[0] == 0


ON_A_MACHINE_WITH = """
from bodvcl.config.schema import ShapesConfig
from bodvcl.data.made import shapes
from bodvcl.data.workers.pool import WorkerPool
import torch
def answer(task, note):
    return torch.full((100_000,), task)
if __name__ == "__main__":
    config = ShapesConfig(cache={cache!r}, train_videos=8, probe_videos=16, size=32, frames=8)
    shapes.prepare(config, workers=2)
    with WorkerPool(answer, 2) as pool:
        for task in range(8):
            pool.submit(task)
        print([pool.receive().sum().item() for _ in range(8)])
"""


@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("unshare") is None, reason="mounting a file system needs root"
)
@pytest.mark.parametrize(
    "how", ["ro", *(pytest.param(f"size={size}", marks=pytest.mark.slow) for size in ("16k", "500k"))]
)
def test_no_room_in_shared_memory(how, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ON_A_MACHINE_WITH.format(cache=str(tmp_path / "cache")), encoding="utf-8")
    inside = f'mount -t tmpfs -o {how} t /dev/shm && exec "$@"'
    command = ["unshare", "-m", "bash", "-c", inside, "bash", sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "Operation not permitted" in done.stderr or "permission denied" in done.stderr:
        pytest.skip("this root may not mount")
    assert done.stdout == f"{[100_000 * task for task in range(8)]}\n", done.stderr
    assert done.stderr.count("shared memory (/dev/shm) is full, too small or cannot be written") == 1


def test_a_renderer_that_is_killed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("bodvcl.data.made.rendered.encode", _killed)
    config = ShapesConfig(cache=tmp_path, train_videos=8, probe_videos=16, size=32, frames=8)
    with pytest.raises(
        DataError, match="a process that renders shapes ended early: out of memory, or killed"
    ):
        shapes.prepare(config, workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def _killed(path, frames):
    os.kill(os.getpid(), 9)
