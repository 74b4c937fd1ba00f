"""A root folder on which the steps of a container's build are executed: the host's programs, read only."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from container_recipes import Copy, Stage

ETC = ("login.defs", "ld.so.cache", "nsswitch.conf", "alternatives")
DEVICES = ("null", "zero", "urandom")


def base(root: Path) -> Path:
    """A small system in ``root``; /usr and this Python are mounted into it by :func:`run`."""
    for name in ("usr", "dev", "proc", "tmp", "opt", "home", "root", "var/tmp", "etc"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for name in ETC:
        source = Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, root / "etc" / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, root / "etc" / name)
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    for name in DEVICES:
        (root / "dev" / name).touch()
    prefix = Path(sys.base_prefix)
    if not prefix.is_relative_to("/usr"):
        (root / prefix.relative_to("/")).mkdir(parents=True)
    return root


def build(stages: list[Stage], context: Path, folder: Path) -> Path:
    """Execute all stages on roots of their own; the root of the last."""
    roots: dict[str, Path] = {}
    for stage in stages:
        root = roots[stage.name] = base(folder / stage.name)
        for step in stage.steps:
            if isinstance(step, Copy):
                within = context if step.stage is None else roots[step.stage]
                shutil.copytree(within / step.source.lstrip("/"), root / step.to[1:], symlinks=True)
            else:
                run(root, step.script, user="0").check_returncode()
    return roots[stages[-1].name]


def start(root: Path, stage: Stage, *words: str, user: str) -> subprocess.CompletedProcess[str]:
    """Start the image as an engine does, with these words on the command line."""
    exports = "".join(f"export {assignment}\n" for assignment in stage.environment)
    return run(root, f"{exports}cd {stage.folder}\n{stage.start}", *words, user=user)


def run(root: Path, script: str, *words: str, user: str) -> subprocess.CompletedProcess[str]:
    """A shell script in ``root`` as a user id, in namespaces of its own: no network, mounts that vanish."""
    python = str(Path(sys.base_prefix))
    inside = str(root)
    mounts = ["mount --make-rprivate /"]
    for source in ("/usr", *([] if python.startswith("/usr") else [python])):
        to = shlex.quote(inside + source)
        mounts += [f"mount --bind {shlex.quote(source)} {to}", f"mount -o remount,bind,ro {to}"]
    mounts += [f"mount --bind /dev/{name} {shlex.quote(inside)}/dev/{name}" for name in DEVICES]
    mounts += [f"mount -t proc proc {shlex.quote(inside)}/proc", 'exec chroot "$@"']
    path = f"PATH={python}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-ec", "\n".join(mounts), "sh"]
    command += [
        f"--userspec={user}:{user}",
        inside,
        "/usr/bin/env",
        "-i",
        path,
        "/bin/sh",
        "-ec",
        script,
        "sh",
    ]
    return subprocess.run([*command, *words], capture_output=True, text=True)


def why_not() -> str | None:
    """Why the steps cannot be executed here; None where they can."""
    if os.getuid() != 0:
        return "needs root, to mount and to change the root folder"
    if not all(map(shutil.which, ("unshare", "chroot", "mount", "useradd"))):
        return "needs unshare, chroot, mount and useradd"
    tried = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True)
    return None if tried.returncode == 0 else "namespaces are not allowed here"
