"""Check the videos of tar files in parallel, and keep what was found: a scan continues where it stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from bodvcl.data.files.index import PROBER, default_index
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.tars.arrow import read_arrow, write_arrow
from bodvcl.data.files.tars.contents import Member, members
from bodvcl.data.files.tars.rows import row_of, table_of
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.tars.held import Held, HeldError, filesystem, held_bytes, is_url, reason_of
from bodvcl.data.tars.names import TarFile
from bodvcl.data.workers.each import Lost, each
from bodvcl.data.workers.process import available_cores
from bodvcl.errors import DataError
from bodvcl.text.progress import progress_bar
from bodvcl.text.words import printable

_FORMAT = 1  # raise it when the same tar file would give other rows
_TIMEOUT = 3600.0  # seconds for one tar file, which may have to come over a network
_TIMEOUT_OF_ONE = 600.0  # seconds for one video
_BAD = b"bodvcl.bad"


def folder_of_index() -> Path:
    """Where the results for tar files are kept: beside the index of files."""
    return default_index().with_suffix(".tars")


def check_tars(
    tars: Sequence[TarFile], *, workers: int | None = None, progress: bool = True
) -> tuple[list[Path], int]:
    """What each tar file holds, from earlier scans where it has not changed.

    Each result is written as soon as it is there, so that an interrupted scan continues with the next file.

    Args:
        tars: the tar files.
        workers: number of processes. 0: check in this process. None: one per core.
        progress: show a progress bar.

    Returns:
        For each tar file the file with its rows, and the number of tar files that had to be opened.

    Raises:
        DataError: a tar file cannot be read, or the results cannot be written.
    """
    folder = folder_of_index()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = set(os.listdir(folder))
    except OSError as error:
        raise _cannot_write(folder, error) from error
    results = [folder / _name(tar) for tar in tars]
    unknown = [n for n, path in enumerate(results) if path.name not in known]
    count = available_cores() if workers is None else workers
    job = _Check([tars[n] for n in unknown], [results[n] for n in unknown])
    bar = progress_bar(
        each(job, len(unknown), workers=count, timeout=_TIMEOUT),
        desc="checking tar files", total=len(unknown), unit="file", disable=not (progress and unknown),
    )  # fmt: skip
    for number, trouble in zip(unknown, bar):
        if isinstance(trouble, Lost):
            trouble = _check_apart(tars[number], results[number])
        if trouble is not None:
            raise DataError(
                f"{printable(tars[number].url)}: {trouble}; copy it again, or leave it out; what was found "
                "in other tar files is kept"
            )
    return results, len(unknown)


def read_result(path: Path) -> tuple[pa.Table, list[tuple[str, str]]]:
    """The rows of a tar file, whose column ``tar`` is 0, and (name, reason) of videos that cannot be used.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: it is damaged.
    """
    table = read_arrow(path)
    return table, [(name, reason) for name, reason in json.loads(table.schema.metadata[_BAD])]


def _name(tar: TarFile) -> str:
    facts = json.dumps([_FORMAT, PROBER, _absolute(tar.url), tar.size, tar.mark])
    return hashlib.blake2b(facts.encode(errors="surrogateescape"), digest_size=16).hexdigest() + ".arrow"


def _absolute(url: str) -> str:
    return url if is_url(url) else os.path.abspath(url)


Outcome = VideoInfo | BadVideo


@dataclass(frozen=True)
class _Check:
    """Checks one of some tar files; the result is why it failed, or None."""

    tars: Sequence[TarFile]
    results: Sequence[Path]

    def __call__(self, number: int) -> str | None:
        tar, result = self.tars[number], self.results[number]
        try:
            with _local(tar) as path:
                found = members(path)
                if is_url(tar.url) and found:
                    _refuse_whole_files(tar, found[0])
                _write(result, found, map(_Probe(tar, path, found), range(len(found))))
        except HeldError as error:
            return str(error)
        except OSError as error:
            raise _cannot_write(result.parent, error) from error
        return None


@contextlib.contextmanager
def _local(tar: TarFile) -> Iterator[Path]:
    """The tar file on this machine; one at a URL is copied to a temporary file."""
    if not is_url(tar.url):
        yield Path(tar.url)
        return
    with tempfile.TemporaryDirectory(prefix="bodvcl-tar-") as folder:
        path = Path(folder, "whole.tar")
        try:
            system, remote = filesystem(tar.url)
            system.get_file(remote, str(path))
        except HeldError:
            raise
        except Exception as error:  # each kind of URL has errors of its own
            raise HeldError(reason_of(error)) from error
        if path.stat().st_size != tar.size:
            raise HeldError(f"{path.stat().st_size:,} bytes came instead of {tar.size:,}")
        yield path


@dataclass(frozen=True)
class _Probe:
    """Finds out what one of the videos of a tar file contains, or why it cannot be used."""

    tar: TarFile
    path: Path
    members: Sequence[Member]

    def __call__(self, number: int) -> Outcome:
        member = self.members[number]
        name = f"{self.tar.url}/{member.name}"
        try:
            return probe_video(name, Held(str(self.path), member.start, member.size))
        except BadVideo as error:
            return error


def _check_apart(tar: TarFile, result: Path) -> str | None:
    """Check a tar file whose check ended its process: now every video has a process of its own.

    Returns:
        Why it failed; None: it did not, and videos that crash or hang the decoder count as bad.
    """
    try:
        with _local(tar) as path:
            found = members(path)
            outcomes: list[Outcome] = []
            probe = _Probe(tar, path, found)
            for member, outcome in zip(found, each(probe, len(found), workers=1, timeout=_TIMEOUT_OF_ONE)):
                if not isinstance(outcome, Lost):
                    outcomes.append(outcome)
                elif outcome.lasting or outcome.hung:
                    outcomes.append(BadVideo(member.name, outcome.reason))
                else:
                    return f"{member.name} {outcome.reason}, perhaps for lack of memory"
        _write(result, found, outcomes)
    except HeldError as error:
        return str(error)
    except OSError as error:
        raise _cannot_write(result.parent, error) from error
    return None


def _refuse_whole_files(tar: TarFile, member: Member) -> None:
    """Check that a server sends the part of a file that is asked for."""
    part = held_bytes(Held(tar.url, member.start, member.size))
    if hashlib.blake2b(part, digest_size=16).digest() != member.digest:
        raise HeldError("its server sends other bytes when asked for a part of the file")


def _write(path: Path, found: Sequence[Member], outcomes: Iterable[Outcome]) -> None:
    rows: list[dict[str, object]] = []
    bad: list[tuple[str, str]] = []
    for member, outcome in zip(found, outcomes):
        if isinstance(outcome, BadVideo):
            bad.append((member.name, outcome.reason))
        else:
            info = replace(outcome, labels=member.labels, split=member.split)
            rows.append(row_of(info, 0, member.name, member.digest))
    table = table_of(rows).replace_schema_metadata({_BAD: json.dumps(bad)})
    write_arrow(path, table.schema, table.to_batches())


def _cannot_write(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"{folder}: the results of the scan cannot be written ({error.strerror or error}); "
        "free some room, or set BODVCL_INDEX to a file in another folder"
    )
