"""Bring together, in wheels/, what a machine with a GPU and without a network needs beside PyTorch.

Versions are those of .ci/lock/gpu_image.txt. Run it where pip reaches an index, then copy wheels/ along.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.gpu.package import ROOT, STAMP, build, fingerprint

PACKAGES = (
    "av", "tyro", "pydantic", "pydantic-core", "annotated-types", "typing-inspection", "docstring-parser",
    "typeguard", "pydmd",
)  # fmt: skip
"""What bodvcl and its tests need and images for PyTorch seldom have."""
DALI = "nvidia-dali-cuda130"
DALI_NEEDS = ("optree", "gast", "astunparse")
"""What DALI cannot be imported without, and images for PyTorch seldom have."""
PART = 48 * 2**20
"""Bytes of a part, for transfers with a limit of size."""
PLATFORMS = (
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
)


def pinned(lock: Path) -> dict[str, str]:
    """Versions by name, from a lock file."""
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;\\]+)", lock.read_text(), re.MULTILINE))


def download(requirements: list[str], python: str, into: Path) -> None:
    """Download wheels for another Python, without what they depend on."""
    line = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(into),
    ]
    line += ["--python-version", python, "--implementation", "cp"]
    for platform in PLATFORMS:
        line += ["--platform", platform]
    if subprocess.run([*line, *requirements]).returncode:
        sys.exit("bench.gpu.fetch: pip could not download the wheels; its message is above")


def split(wheel: Path, size: int = PART) -> list[Path]:
    """Cut a file into parts NAME.0ofN, NAME.1ofN, ..., and remove it."""
    count = -(-wheel.stat().st_size // size)
    parts = [wheel.with_name(f"{wheel.name}.{i}of{count}") for i in range(count)]
    with wheel.open("rb") as whole:
        for part in parts:
            part.write_bytes(whole.read(size))
    wheel.unlink()
    return parts


def main() -> None:
    """Download, build and split what was asked for; say how large it is."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.fetch", description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / "wheels", help="default: wheels/")
    parser.add_argument("--python", default="3.12", help="Python of the machine with the GPU (default: 3.12)")
    parser.add_argument(
        "--build", nargs="+", default=[], metavar="ARCH", help="build bodvcl too, for these: 90, 100"
    )
    parser.add_argument("--dali", action="store_true", help=f"DALI too, in parts of {PART >> 20} MiB")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    versions = pinned(ROOT / ".ci/lock/gpu_image.txt")
    names = [*PACKAGES, *([DALI, *DALI_NEEDS] if options.dali else [])]
    missing = [name for name in PACKAGES if name not in versions]
    if missing:
        sys.exit(f"bench.gpu.fetch: .ci/lock/gpu_image.txt has no {', '.join(missing)}")
    for old in options.into.glob("*.whl*"):
        old.unlink()
    download(
        [f"{name}=={versions[name]}" if name in versions else name for name in names],
        options.python,
        options.into,
    )
    for wheel in options.into.glob(f"{DALI.replace('-', '_')}-*.whl"):
        split(wheel)
    if options.build:
        temporary = options.into / "build"
        temporary.mkdir(exist_ok=True)
        built = build(options.build, temporary, os.environ)
        shutil.move(built, options.into / built.name)
        shutil.rmtree(temporary)
        (options.into / STAMP).write_text(json.dumps({"sources": fingerprint(), "archs": options.build}))
    for path in sorted(options.into.iterdir()):
        print(f"{path.stat().st_size / 2**20:7.1f} MiB  {path.name}")
    print(f"{sum(p.stat().st_size for p in options.into.iterdir()) / 2**20:7.1f} MiB  in {options.into}")


if __name__ == "__main__":
    main()
