"""Built-in data sets on disk: rendered once, in parallel, as real H.264 files with a list of labels."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from tqdm import tqdm

from bodvcl.config.schema import DigitsConfig, ScenesConfig, ShapesConfig
from bodvcl.data.workers.each import Lost, each
from bodvcl.data.workers.process import available_cores
from bodvcl.errors import DataError
from bodvcl.system.folders import cache_folder, expand
from bodvcl.text.progress import progress_bar

FPS = 20
GOP = 12
_ENCODER = 1  # part of the cache key: raise it when the same frames would give other files

SPLITS = ("train", "probe_train", "probe_test")
"""Splits of every built-in data set."""

Render = Callable[[str, int], tuple[np.ndarray, dict[str, str]]]


@dataclass(frozen=True)
class Rendering:
    """A data set to render.

    Attributes:
        name: name of the data set; ``--<name>.cache`` chooses its folder.
        config: its settings. ``cache`` gets one folder for each set of the others.
        version: version of ``render``, raised when the same settings would give other frames.
        columns: names of the labels.
        render: maps (split, index) to uint8 RGB frames (frames, height, width, 3) and labels; a pure function
            that can be pickled.
    """

    name: str
    config: ShapesConfig | DigitsConfig | ScenesConfig
    version: int
    columns: Sequence[str]
    render: Render

    @property
    def sizes(self) -> dict[str, int]:
        """Number of videos per split."""
        return split_sizes(self.config.train_videos, self.config.probe_videos)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides about a file or a label."""
        chosen = {name: value for name, value in asdict(self.config).items() if name != "cache"}
        return {"renderer": self.version, "encoder": _ENCODER, **chosen}

    def key(self) -> str:
        """Sixteen hexadecimal digits that change with every setting and version."""
        text = json.dumps(self.settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def split_sizes(train_videos: int, probe_videos: int) -> dict[str, int]:
    """Number of videos per split. The probe videos are divided into two halves."""
    half = probe_videos // 2
    return {"train": train_videos, "probe_train": probe_videos - half, "probe_test": half}


def encode(path: Path, frames: np.ndarray, fps: int = FPS) -> None:
    """Write uint8 RGB frames (frames, height, width, 3) as H.264 in .mp4, in closed groups of 12 frames.

    The same frames give the same file. For this, x264's macroblock tree is off: its results vary if there are
    B-frames.

    Args:
        path: the file.
        frames: height and width are even.
        fps: frames per second.
    """
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = {
            "preset": "veryfast",
            "crf": "20",
            "g": str(GOP),
            "x264-params": "open-gop=0:scenecut=0:mbtree=0",
        }
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def write_rendering(rendering: Rendering, *, workers: int | None = None, progress: bool = True) -> Path:
    """Render the data set unless the cache already holds it.

    The videos are written to a temporary folder that is renamed when it is complete. An existing cache is
    therefore complete, and two processes that render at the same time end up with the same folder.

    Args:
        rendering: what to render.
        workers: rendering processes. None or 0: one per core.
        progress: show a progress bar.

    Returns:
        ``labels.csv`` of the data set, with the columns path, split and the labels.

    Raises:
        DataError: the cache folder cannot be written.
    """
    chosen = rendering.config.cache
    cache = cache_folder(rendering.name) if chosen is None else expand(chosen)
    final = cache / rendering.key()
    if (final / "labels.csv").is_file():
        return final / "labels.csv"
    temporary = cache / f".{final.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir(parents=True)
        _write(rendering, temporary, workers or available_cores(), progress)
        try:
            temporary.rename(final)
        except OSError:
            if not (final / "labels.csv").is_file():
                raise
    except (OSError, av.FFmpegError) as error:
        raise DataError(
            f"cannot write the built-in data set to {cache}: {error.strerror or error}; "
            f"free some space there, or choose another folder with --{rendering.name}.cache"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final / "labels.csv"


def _write(rendering: Rendering, folder: Path, workers: int, progress: bool) -> None:
    items = [(split, index) for split, count in rendering.sizes.items() for index in range(count)]
    for split in rendering.sizes:
        (folder / split).mkdir(parents=True)
    chunks = [items[start : start + 8] for start in range(0, len(items), 8)]
    rows: list[dict[str, str]] = []
    description = f"rendering {rendering.name}"
    bar: tqdm[None] = progress_bar(total=len(items), desc=description, unit="video", disable=not progress)
    with bar:
        render = _RenderMany(rendering.render, folder, chunks)
        for done in each(render, len(chunks), workers=workers):
            if isinstance(done, Lost):
                raise DataError(
                    f"a process that renders {rendering.name} ended early: out of memory, or killed"
                )
            if isinstance(done, str):
                raise OSError(done)
            rows += done
            bar.update(len(done))
    order = list(rendering.sizes)
    rows.sort(key=lambda row: (order.index(row["split"]), row["path"]))
    settings = json.dumps(rendering.settings, indent=2)
    (folder / "settings.json").write_text(settings + "\n", encoding="utf-8")
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "split", *rendering.columns])
        writer.writeheader()
        writer.writerows(rows)


@dataclass(frozen=True)
class _RenderMany:
    """Renders the videos of one chunk; returns their rows, or why they cannot be written."""

    render: Render
    folder: Path
    chunks: Sequence[Sequence[tuple[str, int]]]

    def __call__(self, number: int) -> list[dict[str, str]] | str:
        rows = []
        for split, index in self.chunks[number]:
            frames, labels = self.render(split, index)
            relative = f"{split}/{index:05d}.mp4"
            try:
                encode(self.folder / relative, frames)
            except (OSError, av.FFmpegError) as error:
                return error.strerror or str(error)
            rows.append({"path": relative, "split": split, **labels})
        return rows
