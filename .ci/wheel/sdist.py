"""The sdist: complete, and the same bytes for the same commit."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from process import run


def build_sdist(tree: Path, out: Path, date: int) -> Path:
    """Pack the tree; every member gets the date of the commit and no owner.

    Args:
        tree: the files of the commit (`tree.copy_tree`), and COMMIT.
        out: where the archive goes.
        date: of every member, in seconds since 1970.
    """
    made = tree.parent / "sdist"
    run(
        ["setup.py", "-q", "sdist", "--formats=tar", "-d", str(made)], cwd=tree, log=tree.parent / "sdist.log"
    )
    (plain,) = made.glob("*.tar")
    packed = out / f"{plain.name}.gz"
    out.mkdir(parents=True, exist_ok=True)
    packed.write_bytes(gzip.compress(_normal(plain, date), mtime=date))
    plain.unlink()
    return packed


def unpack(sdist: Path, into: Path) -> Path:
    """Unpack an sdist; its top folder."""
    with tarfile.open(sdist) as tar:
        top = tar.getnames()[0].partition("/")[0]
        tar.extractall(into, filter="data")
    return into / top


def _normal(archive: Path, date: int) -> bytes:
    """The same members in the order of their names, without what depends on the machine."""
    buffer = io.BytesIO()
    with (
        tarfile.open(archive) as old,
        tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = date, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
    return buffer.getvalue()
