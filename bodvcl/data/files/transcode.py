"""A training copy of a data set: small H.264 files that any decoder reads fast and seeks exactly.

Copies have closed groups of pictures of one length without B-frames, 8-bit 4:2:0 pixels in BT.601, no
sound, no rotation, no edit list, and few picture sizes. Frames keep their numbers and times, so a clip of the
copy shows what the same clip of the original shows.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import av

from bodvcl.config.schema import ClipConfig
from bodvcl.data.files.check import check_files
from bodvcl.data.files.copies import CopySettings, write_copies
from bodvcl.data.files.copy_folder import (
    FAILED,
    common_root,
    copy_key,
    copy_names,
    prepare,
    source_of,
    write_csv,
    write_lists,
)
from bodvcl.data.files.images import at_rate
from bodvcl.data.files.index import VideoIndex
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.sets import Segment, VideoRow, open_dataset
from bodvcl.data.workers.each import Lost, each
from bodvcl.data.workers.process import available_cores
from bodvcl.errors import DataError
from bodvcl.text.progress import progress_bar
from bodvcl.text.words import printable


@dataclass(frozen=True)
class FileOutcome:
    """One file of the copy.

    Attributes:
        before: bytes of the source.
        after: bytes of the copy; 0 if there is none.
        reason: why there is no copy; None if there is one.
        fatal: no further file can be written.
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
        source: value of `--data` that uses the copy.
        written, kept: number of files encoded now, and of files from an earlier run.
        before, after: bytes of their sources, and of the copies.
        failed: (path, reason) of sources without a copy.
    """

    destination: Path
    source: str
    written: int = 0
    kept: int = 0
    before: int = 0
    after: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def write_copy(info: VideoInfo, segment: Segment | None, target: Path, settings: CopySettings) -> None:
    """Encode one video, or a segment of it. The file gets its name when it is complete and was read back.

    Args:
        info: the source.
        segment: the part to copy; None: all frames.
        target: path of the new .mp4 file.
        settings: size and encoding.

    Raises:
        BadVideo: the source cannot be decoded, its frames have no times, or the segment is empty.
        OSError: the file cannot be written.
    """
    (fault,) = write_copies(info, [(segment, target)], settings)
    if fault is not None:
        raise fault


@dataclass(frozen=True)
class _Job:
    row: VideoRow
    info: VideoInfo
    target: Path


@dataclass(frozen=True)
class _CopyFile:
    """Maps a number to the outcomes of the jobs of one file."""

    jobs: Sequence[Sequence[_Job]]
    settings: CopySettings

    def __call__(self, number: int) -> list[FileOutcome]:
        jobs, before = self.jobs[number], 0
        try:
            before = _bytes_of(jobs[0].info)
            parts = [(job.row.segment, job.target) for job in jobs]
            faults = write_copies(jobs[0].info, parts, self.settings)
            return [
                FileOutcome(before, reason=fault.reason)
                if fault
                else FileOutcome(before, os.path.getsize(job.target))
                for job, fault in zip(jobs, faults)
            ]
        except (OSError, av.FFmpegError) as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
            reason = f"cannot be written ({error.strerror or error})"
            return [FileOutcome(before, reason=reason, fatal=full)] * len(jobs)


def transcode(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    settings: CopySettings,
    *,
    workers: int | None = None,
    progress: bool = True,
    image_fps: float = ClipConfig.image_fps,
) -> CopyReport:
    """Write a training copy of a data set; files that an earlier run has finished are kept.

    Folders keep their structure, and files their names except for the extension .mp4. A list is written again
    with the new paths. The official lists of a data set are copied, so the copy is used like the original.

    Args:
        source: see :func:`bodvcl.data.sets.open_dataset`.
        destination: folder of the copy: new, empty, or from an earlier run with the same settings.
        settings: size and encoding.
        workers: number of processes. 0: encode in this process. None: one per core.
        progress: show progress bars.
        image_fps: frame rate of folders of images where the list says none.

    Raises:
        DataError: the source has no video, or none that can be copied; or the destination contains something
            else, lies inside the source, or cannot be written.
    """
    data = open_dataset(source, workers=workers, progress=progress)
    if data.tars:
        raise DataError(
            f"{data.name}: videos in tar files are not copied; unpack them, and give the folder to "
            "bodvcl data transcode"
        )
    if not data.rows:
        raise DataError(f"{data.name}: no video to copy")
    folder = Path(os.path.abspath(Path(destination).expanduser()))
    root = common_root(data)
    if not data.list_file and (folder == root or root in folder.parents):
        raise DataError(f"{folder}: lies inside the data set; choose a folder outside of {root}")
    prepare(folder, {"source": str(root), **asdict(settings)})
    with VideoIndex() as index:
        paths = [row.path for row in data.rows]
        known, _ = check_files(paths, index, workers=workers, progress=progress)
    names = copy_names(data.rows, root)
    report = CopyReport(folder, source_of(data, os.fspath(source), folder), failed=list(data.unreadable))
    todo: list[_Job] = []
    done: set[str] = set()
    first: dict[str, VideoRow] = {}
    for row in data.rows:
        first.setdefault(copy_key(row), row)
    for key, row in first.items():
        info, target = known[row.path], folder / names[key]
        if isinstance(info, VideoInfo) and info.images:
            info = at_rate(info, row.fps or image_fps)
        if isinstance(info, BadVideo):
            report.failed.append((row.path, info.reason))
        elif target.exists() and target.stat().st_mtime_ns >= os.stat(row.path).st_mtime_ns:
            report.kept += 1
            report.before += _bytes_of(info)
            report.after += target.stat().st_size
            done.add(key)
        else:
            todo.append(_Job(row, info, target))
    count = available_cores() if workers is None else workers
    files: dict[str, list[_Job]] = {}
    for job in todo:
        files.setdefault(job.row.path, []).append(job)
    groups = list(files.values())
    results = progress_bar(
        each(_CopyFile(groups, settings), len(groups), workers=count),
        desc="transcoding", total=len(groups), unit="video", disable=not (progress and todo),
    )  # fmt: skip
    for job, outcome in _by_job(groups, results):
        if outcome.fatal:
            raise DataError(f"{job.target}: {outcome.reason}; fix this and run the same command again")
        if outcome.reason is not None:
            report.failed.append((job.row.path, outcome.reason))
            continue
        report.written += 1
        report.before += outcome.before
        report.after += outcome.after
        done.add(copy_key(job.row))
    copied = [(names[copy_key(row)], row) for row in data.rows if copy_key(row) in done]
    write_lists(data, root, folder, copied)
    write_csv(folder / FAILED, ["path", "reason"], report.failed)
    if not copied:
        path, reason = report.failed[0]
        raise DataError(
            f"{printable(data.name)}: no video could be copied; for example {printable(path)}: {reason}; "
            f"{folder / FAILED} names all of them"
        )
    return report


def _bytes_of(info: VideoInfo) -> int:
    return info.image_bytes or os.path.getsize(info.path)


def _by_job(
    groups: Sequence[Sequence[_Job]], results: Iterable[list[FileOutcome] | Lost]
) -> Iterator[tuple[_Job, FileOutcome]]:
    for jobs, result in zip(groups, results):
        if isinstance(result, Lost):
            result = [FileOutcome(0, reason=result.reason)] * len(jobs)
        yield from zip(jobs, result)
