"""Put wheels and package into one folder, without installing anything. Writes package.json.

Wheels are looked for in wheels/ (here or beside this folder, docs/gpu.md). A wheel of bodvcl among them is
taken where it was built from these very sources and for this GPU; else one is built, as ``pip wheel .`` does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("csrc/**/*", "bodvcl/**/*.py", "kernels/**/*.py", "CMakeLists.txt", "setup.py", "pyproject.toml")
STAMP = "bodvcl.json"
"""Beside a wheel of bodvcl: what it was built from and for."""


def fingerprint(root: Path = ROOT) -> str:
    """The sources of the package in one number."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in SOURCES for path in root.glob(pattern) if path.is_file()}):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def wheel_folder(root: Path = ROOT) -> Path | None:
    """Where wheels were brought to."""
    return next((f for f in (root / "wheels", root.parent / "wheels") if f.is_dir()), None)


def joined(folder: Path, into: Path) -> list[Path]:
    """Wheels put together from NAME.whl.0of4, NAME.whl.1of4, ...

    Raises:
        SystemExit: parts are missing.
    """
    names = {path.name.rpartition(".")[0] for path in folder.glob("*.whl.*of*")}
    whole = []
    for name in sorted(names):
        parts = {path.suffix[1:]: path for path in folder.glob(f"{name}.*of*")}
        count = int(next(iter(parts)).partition("of")[2])
        missing = [part for i in range(count) if (part := f"{i}of{count}") not in parts]
        if missing:
            print(f"{name}: the parts {', '.join(missing)} are not there; it is left out")
            continue
        target = into / name
        with target.open("wb") as out:
            for i in range(count):
                with parts[f"{i}of{count}"].open("rb") as part:
                    shutil.copyfileobj(part, out)
        whole.append(target)
    return whole


def unpack(wheels: Sequence[Path], site: Path) -> None:
    """Put wheels into the folder."""
    if wheels:
        line = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            "--no-compile",
            "--upgrade",
        ]
        subprocess.run([*line, "--target", str(site), *map(str, wheels)], check=True)


def why_not(wheel: Path | None, arch: str) -> str:
    """Why a wheel of bodvcl that was brought along cannot serve; "" where it can."""
    if wheel is None:
        return "no wheel of bodvcl was brought along"
    stamp = wheel.parent / STAMP
    said = json.loads(stamp.read_text()) if stamp.exists() else {}
    if said.get("sources") != fingerprint():
        return f"{wheel.name} was built from other sources"
    if arch and arch not in said.get("archs", []):
        return f"{wheel.name} is for sm_{', sm_'.join(said.get('archs', []))}, this GPU is sm_{arch}"
    return ""


def build(archs: Sequence[str], into: Path, env: Mapping[str, str]) -> Path:
    """Build a wheel of bodvcl for GPUs of these architectures, or without CUDA where there is none."""
    chosen = {"BODVCL_BUILD": "cuda" if archs else "cpu"}
    if archs:
        chosen["CMAKE_CUDA_ARCHITECTURES"] = ";".join(f"{arch}-real" for arch in archs)
    line = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    jobs = env.get("MAX_JOBS", str(min(8, os.cpu_count() or 1)))
    subprocess.run([*line, "-w", str(into), str(ROOT)], check=True, env={**env, **chosen, "MAX_JOBS": jobs})
    return next(into.glob("bodvcl-*.whl"))


def main() -> None:
    """Fill the site folder, load the package from it, and write what was built."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where package.json goes")
    parser.add_argument("--work", type=Path, default=os.environ.get("GPU_CHECK_WORK"), help="parent of site/")
    parser.add_argument(
        "--arch", default=os.environ.get("GPU_CHECK_ARCH", ""), help="such as 90; empty: no CUDA"
    )
    options = parser.parse_args()
    site = options.work / "site"
    for folder in (site, options.work / "wheel", options.folder):
        folder.mkdir(parents=True, exist_ok=True)
    brought = wheel_folder()
    own = None
    if brought:
        own = next(iter(sorted(brought.glob("bodvcl-*.whl"))), None)
        wheels = [w for w in sorted(brought.glob("*.whl")) if w != own]
        unpack([*wheels, *joined(brought, options.work)], site)
        print(f"wheels from {brought}: {', '.join(w.name for w in wheels) or 'none'}", flush=True)
    reason = why_not(own, options.arch)
    if reason:
        print(f"building: {reason}", flush=True)
        own = build([options.arch] if options.arch else [], options.work / "wheel", os.environ)
    assert own is not None  # either it serves, or it was built
    unpack([own], site)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "bodvcl.info", "--json"],
        env={**env, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"the package does not load:\n{done.stdout}{done.stderr}")
    with zipfile.ZipFile(own) as wheel:
        libraries = sorted(name for name in wheel.namelist() if name.endswith(".so"))
    info = json.loads(done.stdout)
    (options.folder / "package.json").write_text(
        json.dumps({"built here": bool(reason), "libraries": libraries, "info": info}, indent=1)
    )
    if options.arch and not any("_C_cuda" in name for name in libraries):
        sys.exit("the wheel has no CUDA library")
    print(f"{own.name}: {', '.join(libraries)}")


if __name__ == "__main__":
    main()
