"""``make bundle``: see docs/offline.md. Exit code 2 and one line when something is wrong."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from . import contents
from .errors import BundleError
from .fetch import fetch
from .resolve import only_for, resolve
from .target import target
from .wheel_file import WheelFile, wheel_of_bodvcl

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Make a bundle; 0, or 2 for what the user can mend."""
    options = _options().parse_args(arguments)
    try:
        make(options)
    except (BundleError, OSError) as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bundle: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def make(options: argparse.Namespace) -> None:
    """Resolve, fetch, write. A bundle that was interrupted is continued."""
    wanted = target(options.python_version, options.platform)
    extras = options.extras.replace(",", " ").split()
    source = wheel_of_bodvcl(options.wheel, ROOT / "dist", wanted)
    lock = options.lock.read_text()
    wheels_folder = _prepared(options.out, source.version)
    print(f"bodvcl {source.version} for {wanted}: {source.path.name}", flush=True)
    _warn_of_tag(source)
    pins = resolve(source, extras, wanted, options.lock, options.torch_index)
    if others := ", ".join(f"{pin.name} {pin.version}" for pin in pins if not pin.is_in(lock)):
        print(f"not pinned by {options.lock}: {others}")
    if any(pin.name.startswith("nvidia-") for pin in pins):
        print(
            "PyTorch's CUDA libraries come along: more than 2 GB (without them: TORCH_INDEX, docs/offline.md)"
        )
    wheels = fetch(pins, wanted, wheels_folder, options.torch_index, lambda line: print(line, flush=True))
    bodvcl = WheelFile(wheels_folder / source.path.name)
    if source.path != bodvcl.path.resolve():
        shutil.copy2(source.path, bodvcl.path)
    for path in {*wheels_folder.glob("*.whl")} - {wheel.path for wheel in (bodvcl, *wheels)}:
        path.unlink()
    told = contents.manifest(bodvcl, wheels, pins, extras, wanted, lock)
    total = contents.write(options.out, told, [bodvcl, *wheels], only_for(pins), wanted)
    print(
        f"{options.out}: {len(wheels) + 1} wheels, {_gigabytes(told['download_bytes'])}; "
        f"installed {_gigabytes(told['installed_bytes'])}\nsha256 of its SHA256SUMS: {total}"
    )


def _prepared(out: Path, version: str) -> Path:
    """The folder for the wheels, in an empty folder or in a bundle, whose other files are removed."""
    wheels = out / "wheels"
    if out.exists() and not out.is_dir():
        raise BundleError(f"OUT={out}: a file, expected a folder")
    if out.exists() and any(out.iterdir()) and not contents.is_bundle(out):
        raise BundleError(f"OUT={out}: holds something else than a bundle; choose an empty or a new folder")
    out.mkdir(parents=True, exist_ok=True)
    contents.begin(out, version)
    wheels.mkdir(exist_ok=True)
    return wheels


def _warn_of_tag(wheel: WheelFile) -> None:
    if "-linux_" in wheel.path.name:
        print(
            "warning: this wheel was not repaired (`make wheel`): its native operators load only where "
            "glibc is as new as on the machine that built it; elsewhere PyTorch serves"
        )


def _gigabytes(size: object) -> str:
    return f"{int(str(size)) / 1e9:.2f} GB"


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bundle", description=__doc__, allow_abbrev=False)
    parser.add_argument("--python-version", required=True, metavar="3.12")
    parser.add_argument("--platform", required=True, metavar="manylinux_2_28_x86_64")
    parser.add_argument("--out", required=True, type=Path, help="the folder of the bundle")
    parser.add_argument("--extras", default="", help="extras of pyproject.toml, such as 'dali search'")
    parser.add_argument("--wheel", default="", help="the wheel of bodvcl; default: the one in dist/")
    parser.add_argument("--lock", required=True, type=Path, help="the releases to prefer")
    parser.add_argument("--torch-index", default="", help="an index with other builds of PyTorch")
    return parser


if __name__ == "__main__":
    sys.exit(main())
