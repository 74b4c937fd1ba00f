"""A training copy of a data set: small H.264 files that any decoder reads fast and seeks in exactly.

Closed groups of pictures of one length without B-frames, 8-bit 4:2:0 in BT.601, no sound, no rotation, no
edit list, few picture sizes. Frames and their times stay what they were, so that a clip of the copy is the
clip of the original.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from bodvcl.data.check import check_files
from bodvcl.data.each import Lost, each
from bodvcl.data.index import VideoIndex
from bodvcl.data.sets import DatasetRows, Segment, VideoRow, open_dataset
from bodvcl.data.video import BadVideo, VideoInfo, probe_video, read_frames
from bodvcl.data.workers import available_cores
from bodvcl.errors import DataError
from bodvcl.progress import progress_bar
from bodvcl.words import counted

SETTINGS = "transcode.json"
"""In the folder of the copy: what it was made with."""

FAILED = "failed.csv"
"""In the folder of the copy: files that are not in it, and why."""

_LONG_SIDE = 16  # the long side is a multiple of this: a data set then has few picture sizes
_CHUNK = 2**27  # bytes of decoded frames in memory per process
_BT601, _LIMITED = 6, 1  # numbers of ITU-T H.273: matrix, primaries and transfer of BT.601 (525 lines), range


@dataclass(frozen=True)
class CopySettings:
    """How a copy is encoded.

    Attributes:
        short_side: pixels of the shorter side, even; smaller videos keep their size.
        gop: frames from one key frame to the next.
        crf: quality of x264, 0 (lossless) to 51.
    """

    short_side: int = 256
    gop: int = 12
    crf: int = 20


@dataclass(frozen=True)
class Outcome:
    """One file of the copy.

    Attributes:
        before: bytes of the source.
        after: bytes of the copy; 0 if there is none.
        reason: why there is none, or None.
        fatal: nothing can be written any more.
    """

    before: int
    after: int = 0
    reason: str | None = None
    fatal: bool = False


@dataclass
class CopyReport:
    """What :func:`transcode` did.

    Attributes:
        destination: the folder of the copy.
        written, kept: files encoded now, and files that were there from an earlier run.
        before, after: bytes of the sources of both, and of their copies.
        failed: (path, reason) of sources without a copy.
        source: what to give to `--data` to use the copy.
    """

    destination: Path
    source: str
    written: int = 0
    kept: int = 0
    before: int = 0
    after: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def copy_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) of the copy: even, and never larger than the source.

    Where it is smaller, the long side is rounded to a multiple of 16, by stretching and not by cutting.
    """
    short, long = min(width, height), max(width, height)
    if short <= short_side:
        return max(width // 2 * 2, 2), max(height // 2 * 2, 2)
    scaled = max(round(long * short_side / short / _LONG_SIDE) * _LONG_SIDE, short_side)
    return (scaled, short_side) if width >= height else (short_side, scaled)


def write_copy(info: VideoInfo, segment: Segment | None, target: Path, settings: CopySettings) -> None:
    """Encode one video, or a segment of it; the file appears when it is complete and has been read back.

    Args:
        info: the source.
        segment: the part to copy; None: all frames.
        target: path of the new .mp4 file.
        settings: size and encoding.

    Raises:
        BadVideo: the source cannot be decoded, or its segment is empty.
        OSError: the file cannot be written.
    """
    first, last = _frames_of(info, segment)
    part = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _encode(info, range(first, last), part, settings)
        found = probe_video(part)
        if found.frames != last - first:
            raise BadVideo(
                info.path, f"its copy has {counted(found.frames, 'frame')} instead of {last - first}"
            )
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _frames_of(info: VideoInfo, segment: Segment | None) -> tuple[int, int]:
    """First frame and the one after the last."""
    if segment is None:
        return 0, info.frames
    first, last = np.searchsorted(info.times(), [segment.start - 1e-6, segment.end - 1e-6])
    if last <= first:
        raise BadVideo(
            info.path,
            f"no frame from {segment.start:g} to {segment.end:g} s; it has {info.duration:.1f} s",
        )
    return int(first), int(last)


def time_unit(seconds: float) -> Fraction:
    """A unit of time as the fraction that it was before it was rounded; MP4 holds denominators below 2^31."""
    return Fraction(seconds).limit_denominator(2**31 - 1)


def _encode(info: VideoInfo, frames: range, path: Path, settings: CopySettings) -> None:
    width, height = copy_size(info.width, info.height, settings.short_side)
    unit = time_unit(info.time_base)
    if unit <= 0:
        raise BadVideo(info.path, "does not tell its frame rate")
    rate = Fraction(info.fps).limit_denominator(1001) if info.fps else 1 / unit
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count = 1
        context = stream.codec_context
        context.time_base = unit
        context.colorspace = context.color_primaries = context.color_trc = _BT601
        context.color_range = _LIMITED
        stream.options = {
            "preset": "veryfast",
            "crf": str(settings.crf),
            "x264-params": f"keyint={settings.gop}:min-keyint={settings.gop}:scenecut=0:open-gop=0:bframes=0",
        }
        at_once = max(_CHUNK // (3 * width * height), 1)
        for start in range(frames.start, frames.stop, at_once):
            numbers = range(start, min(start + at_once, frames.stop))
            for number, image in zip(numbers, read_frames(info, numbers, (height, width))):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = info.pts_of(number) - info.pts_of(frames.start), unit
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@dataclass(frozen=True)
class _Job:
    row: VideoRow
    info: VideoInfo
    target: Path


@dataclass(frozen=True)
class _Copy:
    jobs: Sequence[_Job]
    settings: CopySettings

    def __call__(self, number: int) -> Outcome:
        job = self.jobs[number]
        before = 0
        try:
            before = os.path.getsize(job.row.path)
            write_copy(job.info, job.row.segment, job.target, self.settings)
        except BadVideo as error:
            return Outcome(before, reason=error.reason)
        except (OSError, av.FFmpegError) as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
            return Outcome(before, reason=f"cannot be written ({error.strerror or error})", fatal=full)
        return Outcome(before, os.path.getsize(job.target))


def transcode(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    settings: CopySettings,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> CopyReport:
    """Write a training copy of a data set; what an earlier run has finished is kept.

    Folders keep their structure and files their names, but for the ending .mp4. A list is written again with
    the new paths; the official lists of a data set are copied, so that the copy is used like the original.

    Args:
        source: see :func:`bodvcl.data.sets.open_dataset`.
        destination: folder of the copy, empty, new, or of an earlier run with the same settings.
        settings: size and encoding.
        workers: processes. None: one per core.
        progress: show progress bars.

    Raises:
        DataError: the source has no video; the destination holds something else, lies in the source, or
            cannot be written.
    """
    data = open_dataset(source)
    if not data.rows:
        raise DataError(f"{data.name}: no video to copy")
    folder = Path(os.path.abspath(Path(destination).expanduser()))
    root = _common_root(data)
    if not _is_list(data) and (folder == root or root in folder.parents):
        raise DataError(f"{folder}: lies in the data set itself; choose a folder outside of {root}")
    _prepare(folder, {"source": str(root), **asdict(settings)})
    with VideoIndex() as index:
        paths = [row.path for row in data.rows]
        known, _ = check_files(paths, index, workers=workers, progress=progress)
    names = copy_names(data.rows, root)
    report = CopyReport(folder, _source_of(data, os.fspath(source), folder))
    todo: list[_Job] = []
    done: set[str] = set()
    first: dict[str, VideoRow] = {}
    for row in data.rows:
        first.setdefault(_key(row), row)
    for key, row in first.items():
        info, target = known[row.path], folder / names[key]
        if isinstance(info, BadVideo):
            report.failed.append((row.path, info.reason))
        elif target.exists() and target.stat().st_mtime_ns >= os.stat(row.path).st_mtime_ns:
            report.kept += 1
            report.before += os.path.getsize(row.path)
            report.after += target.stat().st_size
            done.add(key)
        else:
            todo.append(_Job(row, info, target))
    count = available_cores() if workers is None else workers
    outcomes = progress_bar(
        each(_Copy(todo, settings), len(todo), workers=count),
        desc="transcoding", total=len(todo), unit="video", disable=not (progress and todo),
    )  # fmt: skip
    for outcome, job in zip(outcomes, todo):
        if isinstance(outcome, Lost):
            outcome = Outcome(0, reason=outcome.reason)
        if outcome.fatal:
            raise DataError(f"{job.target}: {outcome.reason}; mend that and run the same command again")
        if outcome.reason is not None:
            report.failed.append((job.row.path, outcome.reason))
            continue
        report.written += 1
        report.before += outcome.before
        report.after += outcome.after
        done.add(_key(job.row))
    copied = [(names[_key(row)], row) for row in data.rows if _key(row) in done]
    _write_lists(data, root, folder, copied)
    _write_csv(folder / FAILED, ["path", "reason"], report.failed)
    return report


def copy_names(rows: Sequence[VideoRow], root: Path) -> dict[str, str]:
    """File, or what a segment is to be called, to the path of its copy below the folder of the copy."""
    names = {
        _key(row): row.segment.target if row.segment else os.path.relpath(row.path, root) for row in rows
    }
    plain = {key: os.path.splitext(name)[0] + ".mp4" for key, name in names.items()}
    used = Counter(plain.values())
    return {
        key: plain[key] if used[plain[key]] == 1 or plain[key] == name else f"{name}.mp4"
        for key, name in names.items()
    }


def _key(row: VideoRow) -> str:
    return row.segment.target if row.segment else row.path


def _is_list(data: DatasetRows) -> bool:
    return data.annotations == [data.name]


def _common_root(data: DatasetRows) -> Path:
    folders = {os.path.dirname(os.path.abspath(row.path)) for row in data.rows}
    return Path(os.path.commonpath([os.path.abspath(data.root), *folders]))


def _prepare(folder: Path, what: dict[str, Any]) -> None:
    """Make the folder of a copy, or see that it is that of the same copy."""
    path = folder / SETTINGS
    try:
        if path.exists():
            earlier = json.loads(path.read_text(encoding="utf-8"))
            if earlier != what:
                differ = [f"{k} {earlier.get(k)}, now {v}" for k, v in what.items() if earlier.get(k) != v]
                raise DataError(f"{folder}: holds another copy ({'; '.join(differ)}); choose another folder")
            return
        if folder.exists() and any(folder.iterdir()):
            raise DataError(f"{folder}: is not empty and holds no training copy; choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(what) + "\n", encoding="utf-8")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{folder}: cannot be used for the copy: {error}") from error


def _source_of(data: DatasetRows, source: str, folder: Path) -> str:
    """What `--data` of the copy is, in the way that the source was given."""
    if Path(source).expanduser().is_dir():
        return str(folder)
    if _is_list(data):
        return str(folder / Path(data.name).name)
    return f"{source.partition(':')[0]}:{folder}"


def _write_lists(data: DatasetRows, root: Path, folder: Path, copied: list[tuple[str, VideoRow]]) -> None:
    if _is_list(data):
        columns = list(data.classes)
        split = ["split"] if any(row.split for row in data.rows) else []
        _write_csv(
            folder / Path(data.name).name,
            ["path", *split, *columns],
            [
                [name, *(row.split for _ in split), *(row.labels.get(column, "") for column in columns)]
                for name, row in copied
            ],
        )
        return
    for path in map(Path, data.annotations):
        for neighbour in path.parent.glob(f"*{path.suffix}"):  # the lists of the other official splits
            if neighbour.name not in (SETTINGS, FAILED):
                target = folder / os.path.relpath(neighbour, root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(neighbour, target)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
