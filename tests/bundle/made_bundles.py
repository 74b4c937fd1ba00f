"""A bundle of tiny made-up packages: everything of ``make bundle`` but the network and the gigabytes."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ci"))

from bundle import __main__ as make_bundle  # noqa: E402
from bundle.resolve import Pin, uv  # noqa: E402
from bundle.target import Target  # noqa: E402
from bundle.wheel_file import WheelFile  # noqa: E402

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PLATFORM = f"manylinux_2_28_{os.uname().machine}"
TARGET = Target(PYTHON, os.uname().machine, (2, 28))
TORCH = "2.14.1"

_COMMAND = """import os, sys
def main():
    import small
    print("bodvcl", *sys.argv[1:], "| user", os.getuid(), "| home", os.environ.get("HOME"))
"""
PACKAGES: dict[str, tuple[str, Sequence[str], Mapping[str, str]]] = {
    "small": ("1.5", [], {"small.py": ""}),
    "more": ("0.3", [], {"more.py": ""}),
    "torch": (TORCH, ["cuda-part"], {"torch/__init__.py": "", "torch/version.py": "cuda = '13.0'\n"}),
    "torchvision": ("0.29.1", ["torch"], {"torchvision.py": ""}),
    "cuda-part": ("13.1", [], {"cuda_part.py": ""}),
}
"""Name to version, what it needs, and its files. ``more`` is for bodvcl's extra `dali`."""
ASKED_BY = {
    "small": "bodvcl",
    "more": "bodvcl",
    "torch": "torchvision",
    "torchvision": "bodvcl",
    "cuda-part": "torch",
}


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    needs: Sequence[str],
    files: Mapping[str, str],
    tag: str = "py3-none-any",
) -> Path:
    """A wheel with these files, in ``folder``."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    meta = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    extras = "Provides-Extra: dali\n" if name == "bodvcl" else ""
    inside = {
        **files,
        f"{info}/METADATA": meta + extras + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    if name == "bodvcl":
        inside[f"{info}/entry_points.txt"] = "[console_scripts]\nbodvcl = bodvcl.command:main\n"
    record = "".join(f"{path},{_record(text)},{len(text.encode())}\n" for path, text in inside.items())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in {**inside, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(member, text)
    return path


def write_packages(folder: Path) -> Path:
    """All of ``PACKAGES`` in ``folder/index``, and the wheel of bodvcl, whose path is returned."""
    for name, (version, needs, files) in PACKAGES.items():
        add_to_index(folder / "index", write_wheel(folder, name, version, needs, files))
    build = '{"commit": "0123456789ab", "libraries": ["_C"]}'
    files = {"bodvcl/__init__.py": "", "bodvcl/build.json": build, "bodvcl/command.py": _COMMAND}
    needs = ["small", "torchvision", 'more; extra == "dali"']
    tag = f"py3-none-{PLATFORM}"
    return write_wheel(folder, "bodvcl", "0.1.0", needs, files, tag)


def add_to_index(index: Path, wheel: Path) -> None:
    """Move a wheel into a folder that is laid out as a package index."""
    page = index / WheelFile(wheel).name / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    moved = WheelFile(wheel.rename(page.parent / wheel.name))
    with page.open("a") as file:
        file.write(f'<a href="{wheel.name}#sha256={moved.sha256}">{wheel.name}</a>\n')


def environment(index: Path) -> dict[str, str]:
    """Variables under which pip and uv know the wheels of ``index`` and nothing else."""
    return {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index.as_uri(),
        "PIP_FIND_LINKS": "",
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": index.as_uri(),
        "UV_NO_CACHE": "1",
    }


def make(folder: Path, out: Path, *more: str) -> int:
    """``make bundle`` with the packages of ``folder``; its exit code. Without uv, the pins are given."""
    lock = folder / "lock.txt"
    lock.write_text(f"small==1.5\ntorch=={TORCH}\ntorchvision==0.29.1\ncuda-part==13.1\n")
    (wheel,) = folder.glob("bodvcl-*.whl")
    options = [f"--python-version={PYTHON}", f"--platform={PLATFORM}", "--extras=dali", f"--out={out}"]
    return make_bundle.main([*options, f"--wheel={wheel}", f"--lock={lock}", *more])


def given_pins(index: Path) -> list[Pin]:
    """What uv finds for ``PACKAGES``."""
    wheels = sorted((WheelFile(path) for path in index.rglob("*.whl")), key=lambda wheel: wheel.name)
    return [Pin(w.name, w.version, frozenset({w.sha256}), frozenset({ASKED_BY[w.name]})) for w in wheels]


def has_uv() -> bool:
    return shutil.which(uv()) is not None


def install(bundle: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """``./install.sh ARGUMENTS`` of a bundle, without a network where this user may take it away."""
    alone = ["unshare", "--net"] if os.getuid() == 0 and shutil.which("unshare") else []
    return subprocess.run(
        [*alone, str(bundle / "install.sh"), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )


def _record(text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
    return f"sha256={digest.decode().rstrip('=')}"
