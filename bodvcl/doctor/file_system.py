"""Which file system a folder is on, and what that means for a run."""

from __future__ import annotations

import re
from pathlib import Path

from bodvcl.doctor.outcome import Outcome, ok, warning

_LAYER = (
    "the layer of a container: its files are lost with it",
    "mount a folder of the host, or a volume",
)
_REMEDIES = {
    "tmpfs": ("memory: its files are lost when the node restarts", "choose a --run-dir on a disk"),
    "ramfs": ("memory: its files are lost when the node restarts", "choose a --run-dir on a disk"),
    "overlay": _LAYER,
    "fuse.fuse-overlayfs": _LAYER,
    "vfat": ("a file system without permissions and with coarse times", "choose a --run-dir on another disk"),
}
_OBJECTS = re.compile(r"fuse\.(s3|goofys|gcsfuse|rclone|blobfuse|mountpoint|juicefs|ossfs|sshfs)")
_NETWORK = re.compile(
    r"(fuse\.)?(nfs|lustre|beegfs|gpfs|ceph|wekafs|pvfs|orangefs|glusterfs|cifs|smb|9p|virtiofs|afs)"
)


def kind_of(folder: Path, mounts: str) -> str:
    """Type of the file system of a folder: "ext4", or "fuse.s3fs" with the name of its program.

    Args:
        folder: an absolute path without symbolic links.
        mounts: contents of ``/proc/self/mountinfo``.
    """
    best, kind = -1, "unknown"
    for line in mounts.splitlines():
        head, _, tail = line.partition(" - ")
        fields = head.split()
        if len(fields) < 5 or not tail:
            continue
        place = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        if folder.is_relative_to(place) and len(place.parts) >= best:  # of two at one place the later is seen
            best, (kind, *source) = len(place.parts), tail.split()[:2]
            kind = ".".join([kind, *source]) if kind == "fuse" else kind
    return kind


def judge_kind(folder: Path, kind: str) -> Outcome:
    """What a type of file system means for a run folder."""
    if kind in _REMEDIES:
        why, remedy = _REMEDIES[kind]
        return warning(f"{folder} is on {kind}, {why}", remedy)
    if _OBJECTS.match(kind):
        return warning(
            f"{folder} is on {kind}: such mounts often do not replace and lock files as a disk does",
            "write to a disk or a cluster file system; results can be copied afterwards",
        )
    if _NETWORK.match(kind):
        return ok(f"{kind}, a network file system: other nodes can see it")
    return ok(f"{kind}, local: other nodes may not see it")


def check_file_system(folder: Path) -> Outcome:
    """The check ``file-system``: of ``folder``, which exists."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    return judge_kind(folder, kind_of(folder.resolve(), mounts))
