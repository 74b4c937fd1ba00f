"""Which releases belong together on the target: uv resolves, the lock is what it prefers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import BundleError
from .target import Target
from .wheel_file import WheelFile, normal

TORCH = ("torch", "torchvision")
"""The pair that is always that of the lock: bodvcl is tested with it."""


@dataclass(frozen=True)
class Pin:
    """A release, the sha256 of its files on the index, and the packages that ask for it."""

    name: str
    version: str
    hashes: frozenset[str]
    asked_by: frozenset[str]

    def is_in(self, lock: str) -> bool:
        """Whether ``lock`` pins this release; a local build such as ``2.14.1+cpu`` is that of ``2.14.1``."""
        return f"{self.name}=={self.version.partition('+')[0]}" in _pinned(lock)


def resolve(
    wheel: WheelFile, extras: Sequence[str], target: Target, lock: Path, torch_index: str = ""
) -> list[Pin]:
    """Every release that the wheel with these extras needs on the target, the wheel itself left out.

    Releases are those of ``lock`` wherever they fit together. An extra that the lock does not cover may need
    others, which :meth:`Pin.is_in` tells. Only wheels are considered.

    Raises:
        BundleError: The wheel lacks an extra, or no set of wheels fits; then with uv's explanation.
    """
    if unknown := set(extras) - wheel.extras():
        raise BundleError(f"EXTRAS: no {', '.join(unknown)}; there are {', '.join(sorted(wheel.extras()))}")
    pinned = lock.read_text()
    with tempfile.TemporaryDirectory() as folder:
        wanted, limits, found = (Path(folder) / name for name in ("wanted.in", "limits.txt", "found.txt"))
        extra = f"[{','.join(extras)}]" if extras else ""
        wanted.write_text(f"bodvcl{extra} @ {wheel.path.as_uri()}\n")
        limits.write_text(
            "".join(f"{pin}\n" for pin in sorted(_pinned(pinned)) if pin.split("==")[0] in TORCH)
        )
        found.write_text(_without(pinned, TORCH))  # uv prefers what its output file has already
        command = [uv(), *"pip compile -q --generate-hashes --no-header --only-binary :all:".split()]
        command += ["--annotation-style=line", f"--python-version={target.python}"]
        command += [f"--python-platform={target.uv_platform}"]
        command += [f"--constraint={limits}", f"--output-file={found}"]
        if torch_index:
            command += [f"--index={torch_index}", "--index-strategy=unsafe-best-match"]
        try:
            done = subprocess.run([*command, str(wanted)], capture_output=True, text=True)
        except OSError as error:
            raise BundleError(f"uv cannot be started ({error}): pip install uv") from error
        if done.returncode:
            raise BundleError(f"no set of wheels serves {target}:\n{done.stderr.strip()}")
        return [pin for pin in parse(found.read_text()) if pin.name != "bodvcl"]


def uv() -> str:
    """The program uv: the one beside this Python, or that of PATH."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv") or "uv"


def parse(text: str) -> list[Pin]:
    """The pins of a file that ``uv pip compile --generate-hashes`` wrote."""
    pins = []
    for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE):
        if found := re.match(r"([\w.-]+)==(\S+)", entry):
            via = re.search(r"# via (.+)", entry)
            asked_by = (
                frozenset(map(normal, re.findall(r"[A-Za-z0-9][\w.-]*", via[1]))) if via else frozenset()
            )
            hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
            pins.append(Pin(normal(found[1]), found[2], hashes, asked_by))
    return pins


def only_for(pins: Iterable[Pin], roots: Collection[str] = TORCH) -> set[str]:
    """Names of ``roots`` and of all that nothing but them asks for: PyTorch and the CUDA libraries."""
    left = {pin.name: pin.asked_by for pin in pins}
    found = {name for name in roots if name in left}
    while more := {name for name, asked_by in left.items() if asked_by and asked_by <= found} - found:
        found |= more
    return found


def _pinned(lock: str) -> set[str]:
    return {
        f"{normal(name)}=={version}" for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, re.M)
    }


def _without(lock: str, names: Collection[str]) -> str:
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return "".join(entry for entry in entries if normal(entry.split("==")[0]) not in names)
