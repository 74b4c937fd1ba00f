"""The wheels of the pins into one folder. What lies there already with the right hash is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from .errors import BundleError
from .resolve import Pin
from .target import Target
from .wheel_file import WheelFile


def fetch(
    pins: Iterable[Pin], target: Target, folder: Path, torch_index: str, say: Callable[[str], None]
) -> list[WheelFile]:
    """One wheel for each pin, in their order.

    Raises:
        BundleError: A wheel cannot be downloaded. What is there stays, and the next call goes on from it.
    """
    pins = list(pins)
    wheels = []
    for number, pin in enumerate(pins, 1):
        there = kept(pin, folder)
        wheel = there or _download(pin, target, folder, torch_index)
        state = "kept" if there else "fetched"
        say(f"[{number}/{len(pins)}] {wheel.path.name}, {wheel.bytes / 1e6:.1f} MB, {state}")
        wheels.append(wheel)
    return wheels


def kept(pin: Pin, folder: Path) -> WheelFile | None:
    """The wheel of this release in ``folder``, if its hash is one of the pin's."""
    for wheel in map(WheelFile, folder.glob("*.whl")):
        if (wheel.name, wheel.version) == (pin.name, pin.version) and wheel.sha256 in pin.hashes:
            return wheel
    return None


def _download(pin: Pin, target: Target, folder: Path, torch_index: str) -> WheelFile:
    wanted = folder / "wanted.txt"
    wanted.write_text(
        f"{pin.name}=={pin.version}" + "".join(f" --hash=sha256:{h}" for h in sorted(pin.hashes))
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-cache-dir",
        "--require-hashes",
    ]
    command += ["--disable-pip-version-check", "--only-binary=:all:", f"--python-version={target.python}"]
    command += ["--implementation=cp", *(f"--platform={tag}" for tag in target.platforms)]
    command += [f"--extra-index-url={torch_index}"] if torch_index else []
    try:
        done = subprocess.run(
            [*command, "-d", str(folder), "-r", str(wanted)],
            capture_output=True,
            text=True,
            env={**os.environ, "PIP_NO_INPUT": "1"},
        )
    finally:
        wanted.unlink()
    if done.returncode:
        raise BundleError(
            f"{pin.name} {pin.version} cannot be fetched for {target}; the same command goes on from here:\n"
            f"{done.stderr.strip()}"
        )
    found = kept(pin, folder)
    if found is None:
        raise BundleError(f"{pin.name} {pin.version}: pip left no wheel with the right hash in {folder}")
    return found
