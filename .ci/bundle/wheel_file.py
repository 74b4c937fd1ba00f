"""What a wheel says of itself: its name, and what is in it."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import BundleError
from .target import Target


def normal(name: str) -> str:
    """A package's name as indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class WheelFile:
    """A wheel on the disk."""

    path: Path

    @property
    def name(self) -> str:
        return normal(self._parts[0])

    @property
    def version(self) -> str:
        return self._parts[1]

    @property
    def _parts(self) -> list[str]:
        parts = self.path.name.removesuffix(".whl").split("-")
        if len(parts) not in (5, 6):
            raise BundleError(f"{self.path}: not the name of a wheel")
        return parts

    def serves(self, target: Target) -> bool:
        """Whether the architecture and the glibc are those of the target."""
        return any(tag in (*target.platforms, "any") for tag in self._parts[-1].split("."))

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        with self.path.open("rb") as file:
            digest = hashlib.sha256()
            while part := file.read(1 << 22):
                digest.update(part)
        return digest.hexdigest()

    def unpacked(self) -> int:
        """Bytes that it takes when installed; a compiled .pyc is counted as large as its .py."""
        with self._open() as archive:
            return sum(
                entry.file_size * (2 if entry.filename.endswith(".py") else 1) for entry in archive.infolist()
            )

    def read(self, member: str) -> str | None:
        """The text of a file in the wheel; None where there is none."""
        with self._open() as archive:
            return archive.read(member).decode() if member in archive.namelist() else None

    def extras(self) -> set[str]:
        """The extras that can be asked for."""
        stem = "-".join(self._parts[:2])
        meta = self.read(f"{stem}.dist-info/METADATA") or ""
        return set(re.findall(r"^Provides-Extra: (\S+)", meta, re.MULTILINE))

    def build(self) -> dict[str, Any]:
        """``bodvcl/build.json``: how the native libraries of this wheel of bodvcl were built."""
        found: dict[str, Any] = json.loads(self.read("bodvcl/build.json") or "{}")
        return found

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            raise BundleError(f"{self.path}: cannot be read ({error})") from error


def wheel_of_bodvcl(given: str, dist: Path, target: Target) -> WheelFile:
    """The wheel that ``WHEEL`` names, else one of ``dist`` that serves the target, else one of ``dist/cpu``.

    Raises:
        BundleError: There is none, or more than one.
    """
    if given:
        wheel = WheelFile(Path(given).resolve())
        if not wheel.path.is_file():
            raise BundleError(f"WHEEL={given}: no such file; `make wheel` builds dist/bodvcl-*.whl")
        if wheel.name != "bodvcl" or not wheel.serves(target):
            raise BundleError(f"WHEEL={given}: not a wheel of bodvcl for {target.platform}")
        return wheel
    found = [WheelFile(path.resolve()) for path in sorted([*dist.glob("*.whl"), *dist.glob("cpu/*.whl")])]
    fitting = [wheel for wheel in found if wheel.serves(target)]
    serving = [wheel for wheel in fitting if wheel.path.parent == dist.resolve()] or fitting
    if len(serving) != 1:
        which = ", ".join(wheel.path.name for wheel in serving or found) or "nothing"
        what = "more than one wheel" if serving else "no wheel"
        raise BundleError(
            f"{what} of bodvcl for {target.platform} in {dist}/ (there: {which}): `make wheel`, or WHEEL=FILE"
        )
    return serving[0]
