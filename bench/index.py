"""How long an index of many videos in tar files takes to open, and the memory of a process that uses it.

``python -m bench.index`` writes an index of 10 million videos (5 GB, in a temporary folder), and measures in
processes of their own: opening it; what ``bodvcl train`` does with it before the first step; and one decoding
process that draws the clips of a batch.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.judged import judged
from bodvcl.data.files.scan_summary import summary_lines
from bodvcl.data.files.tars.arrow import write_arrow
from bodvcl.data.files.tars.rows import SCHEMA
from bodvcl.data.files.tars.table import FACTS, VideoTable
from bodvcl.data.files.training_part import training_part
from bodvcl.data.files.video_list import list_videos
from bodvcl.data.sets.rows import DatasetRows
from bodvcl.data.sources.source_choice import can_run_dali

CPU = torch.device("cpu")
_PER_TAR = 1000
_AT_ONCE = 50_000
_KEYS = 20
"""Key frames of a video; a usual one of 10 s has as many or fewer."""


def write_index(file: Path, videos: int) -> None:
    """An index of made-up videos of 100 to 499 frames, three sizes and two codecs."""
    urls = [f"/data/train-{n:06d}.tar" for n in range(-(-videos // _PER_TAR))]
    facts = {"urls": urls, "sizes": [10**9] * len(urls), "bad": [], "repeats": [], "classes": {}}
    schema = SCHEMA.with_metadata({FACTS: json.dumps(facts)})
    write_arrow(file, schema, (_rows(first, min(_AT_ONCE, videos - first)) for first in _firsts(videos)))


def _firsts(videos: int) -> Iterator[int]:
    return iter(range(0, videos, _AT_ONCE))


def _rows(first: int, count: int) -> pa.RecordBatch:
    number = np.arange(first, first + count)
    frames = 100 + number * 7919 % 400
    size = np.array([[320, 240], [340, 256], [426, 240]])[number % 3]
    keys = frames[:, None] * np.arange(_KEYS) // _KEYS
    plain = {
        "tar": number // _PER_TAR,
        "name": [f"{n:010d}.mp4" for n in number.tolist()],
        "start": number % _PER_TAR * 10**6,
        "size": np.full(count, 10**6),
        "digest": [n.to_bytes(16, "little") for n in number.tolist()],
        "frames": frames,
        "fps": np.full(count, 25.0),
        "width": size[:, 0],
        "height": size[:, 1],
        "codec": np.array(["h264", "vp9"])[(number % 5 == 0).astype(int)],
        "duration": frames / 25,
        "time_base": np.full(count, 1 / 12800),
        "pts_step": np.full(count, 512),
        "pixel_format": ["yuv420p"] * count,
        "colour_space": np.full(count, 2),
        "streams": np.full(count, 1),
        "split": [""] * count,
        "content": [""] * count,
        "pts": [None] * count,
        "gaps": [[]] * count,
        "labels": [[]] * count,
    }
    ends = np.arange(count + 1) * _KEYS
    arrays = []
    for field in SCHEMA:
        if field.name == "keyframes":
            arrays.append(pa.ListArray.from_arrays(ends.astype(np.int32), keys.astype(np.int32).ravel()))
        elif field.name in ("sequential", "mirrored"):
            arrays.append(pa.array(np.zeros(count, bool)))
        else:
            values = plain.get(field.name, np.zeros(count, np.int64))
            arrays.append(pa.array(values).cast(field.type) if isinstance(values, np.ndarray)
                          else pa.array(values, field.type))  # fmt: skip
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def measure(file: Path, batches: int) -> Iterator[tuple[str, float, float, float]]:
    """What is done, the seconds that it takes, and the memory of this process afterwards in GB: its own, and
    pages of files, which all processes of a machine share."""

    def lap(what: str) -> tuple[str, float, float, float]:
        nonlocal start
        seconds, start = time.perf_counter() - start, time.perf_counter()
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        own, shared = (int(status[name].split()[0]) / 1e6 for name in ("RssAnon", "RssFile"))
        return what, seconds, own, shared

    start = time.perf_counter()
    clip = ClipConfig()
    yield lap("nothing yet (Python and PyTorch are loaded)")
    table = VideoTable(file)
    assert table[len(table) - 1].frames >= 100
    yield lap(f"open the index of {len(table):,} videos, read one")
    fits, _ = judged(table, clip)
    assert fits.all()
    yield lap("find those that hold a clip")
    data = DatasetRows("index", "index", [])
    part = training_part(data, table)
    assert len(part.videos) == len(table)
    yield lap("find those to train on")
    assert summary_lines(data, table, [], [], 10)
    yield lap("summary for the terminal")
    assert can_run_dali(table, CPU, installed=True)[0] is False
    yield lap("find the decoder")
    assert list_videos(part.videos).files
    yield lap("list for the checkpoints")
    plan = ClipPlan(part.videos, clip, AugmentConfig(), 256, 0)
    for step in range(batches):
        for index in plan.indices(0, step):
            plan.draws(0, index)
        yield lap(f"draw the 256 videos of step {step} and their clips")


def _device():
    import torch

    return torch.device("cpu")


def main() -> None:
    """Write an index, and measure it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=10_000_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        for what, seconds, own, shared in measure(options.measure, 2):
            memory = f"{own:5.2f} GB of its own  {shared:5.2f} GB of files"
            print(f"{seconds:7.2f} s  {memory}  {what}", flush=True)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"at most {most:.2f} GB at one time")
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "index.arrow")
        write_index(file, options.videos)
        print(f"{file.stat().st_size / 1e9:.2f} GB on the disk", flush=True)
        command = [sys.executable, "-m", "bench.index", "--measure", os.fspath(file)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
