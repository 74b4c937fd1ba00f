"""The files beside the wheels: requirements, manifest, instructions, the installer and the sums."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .resolve import Pin
from .target import Target
from .wheel_file import WheelFile

HERE = Path(__file__).parent
WRITTEN = ("requirements.txt", "torch.txt", "bundle.json", "README.txt", "install.sh", "SHA256SUMS")
"""What is written beside ``wheels/``. SHA256SUMS comes last: only a whole bundle has it."""


def requirements(wheels: Iterable[WheelFile]) -> str:
    """A pin and the one hash for each wheel, as ``pip install --require-hashes`` reads them."""
    return "".join(
        f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n"
        for wheel in sorted(wheels, key=lambda wheel: wheel.name)
    )


def manifest(
    bodvcl: WheelFile,
    wheels: Sequence[WheelFile],
    pins: Sequence[Pin],
    extras: Sequence[str],
    target: Target,
    lock: str,
) -> dict[str, object]:
    """What ``bundle.json`` says: versions, sizes in bytes, and which releases are not those of the lock."""
    torch = next((wheel for wheel in wheels if wheel.name == "torch"), None)
    build = bodvcl.build()
    unlocked = {pin.name for pin in pins if not pin.is_in(lock)}
    return {
        "bodvcl": bodvcl.version,
        "commit": build.get("commit"),
        "native_libraries": build.get("libraries", []),
        "extras": list(extras),
        "python": target.python,
        "platform": target.platform,
        "torch": torch and torch.version,
        "cuda": torch and _cuda(torch),
        "download_bytes": sum(wheel.bytes for wheel in (bodvcl, *wheels)),
        "installed_bytes": sum(wheel.unpacked() for wheel in (bodvcl, *wheels)),
        "packages": [
            {
                "name": wheel.name,
                "version": wheel.version,
                "file": wheel.path.name,
                "bytes": wheel.bytes,
                "sha256": wheel.sha256,
                "locked": wheel.name not in unlocked,
            }
            for wheel in (bodvcl, *wheels)
        ],
    }


def is_bundle(out: Path) -> bool:
    """Whether a folder is a bundle, whole or interrupted: its ``bundle.json`` is there from the start."""
    try:
        told = json.loads((out / "bundle.json").read_text())
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(told, dict) and "bodvcl" in told


def begin(out: Path, version: str) -> None:
    """Make ``out`` a bundle that is not whole, of this version of bodvcl; its wheels stay."""
    _replace(out / "bundle.json", json.dumps({"bodvcl": version}))
    for name in WRITTEN:
        if name != "bundle.json":
            (out / name).unlink(missing_ok=True)


def write(
    out: Path, told: Mapping[str, object], wheels: Sequence[WheelFile], torch_only: set[str], target: Target
) -> str:
    """Write everything beside the wheels.

    Returns:
        The sha256 of SHA256SUMS: who has this one number can tell that no file was changed.
    """
    (out / "requirements.txt").write_text(requirements(w for w in wheels if w.name not in torch_only))
    (out / "torch.txt").write_text(requirements(w for w in wheels if w.name in torch_only))
    _replace(out / "bundle.json", json.dumps(told, indent=2) + "\n")
    for name in ("README.txt", "install.sh"):
        values = {**told, "glibc_minor": target.glibc[1], "architecture": target.architecture}
        (out / name).write_text(_filled((HERE / name).read_text(), values))
    (out / "install.sh").chmod(0o755)
    listed = sorted((*WRITTEN[:-1], *(f"wheels/{wheel.path.name}" for wheel in wheels)))
    known = {f"wheels/{wheel.path.name}": wheel.sha256 for wheel in wheels}
    sums = "".join(f"{known.get(name) or _sha256(out / name)}  {name}\n" for name in listed)
    _replace(out / "SHA256SUMS", sums)
    return _sha256(out / "SHA256SUMS")


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text)
    os.replace(partial, path)


def _cuda(torch: WheelFile) -> str | None:
    found = re.search(r"^cuda\b[^=\n]*= '([\d.]+)'", torch.read("torch/version.py") or "", re.MULTILINE)
    return found and found[1]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _filled(text: str, values: Mapping[str, object]) -> str:
    """``text`` with each ``@name@`` replaced by its value."""
    return re.sub(r"@([a-z_]+)@", lambda found: str(values[found[1]]), text)
