"""Build what an index serves: `make wheel`, or python .ci/wheel [cuda] [cpu] [aarch64] [sdist].

The sdist is made from the files of the commit, the wheels from the unpacked sdist, against glibc 2.28. The
same commit and the same tools give the same bytes (docs/wheels.md). The wheel for aarch64 is a CPU
wheel that any machine builds (docs/aarch64.md).
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from needs import check_needs, compiler, torch_folder
from process import Failed
from sdist import build_sdist, unpack
from stop import Stop
from stubs import make_stubs
from torch_stub import make_torch
from traces import folders_here
from tree import changed, commit, commit_time, copy_tree

from build import build_wheel

ROOT = Path(__file__).resolve().parents[2]
WHEELS = {"cuda": platform.machine(), "cpu": platform.machine(), "aarch64": "aarch64"}
"""Kind of wheel to the processor that it is for."""
KINDS = (*WHEELS, "sdist")
DEFAULT = ("cuda", "cpu", "sdist")


def main(argv: Sequence[str]) -> int:
    """Build, examine, print the table; exit code 1 for a defect, 2 for what the user can mend."""
    options = _options(argv)
    try:
        return _build(options.kinds or DEFAULT, options.into, options.work, options.dirty)
    except (Stop, OSError) as stop:  # a full disk, a folder that cannot be written
        print(f"make wheel: {stop}", file=sys.stderr)
        return 2
    except Failed as failed:
        print(f"make wheel: {failed}", file=sys.stderr)
        return 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python .ci/wheel", description=__doc__)
    parser.add_argument(
        "kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)} (default: {' '.join(DEFAULT)})"
    )
    parser.add_argument(
        "--into", type=Path, default=ROOT / "dist", help="folder of the results (default: dist)"
    )
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build/wheel", help="default: build/wheel; emptied"
    )
    parser.add_argument("--dirty", action="store_true", help="also with changes that are not committed")
    options = parser.parse_args(argv)
    unknown = [kind for kind in options.kinds if kind not in KINDS]
    if unknown:
        parser.error(f"unknown kind {unknown[0]!r}: expected {', '.join(KINDS)}")
    return options


def _build(kinds: Sequence[str], into: Path, work: Path, dirty: bool) -> int:
    wheels = [kind for kind in WHEELS if kind in kinds]
    check_needs(wheels)
    if not dirty and (files := changed(ROOT)):
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        raise Stop(f"{files[0]}{more} not committed: commit first, or try it with python .ci/wheel --dirty")
    os.umask(0o022)
    date = _date()
    work, into, of = work.resolve(), into.resolve(), commit(ROOT)
    folders = folders_here(work, ROOT, torch_folder()) if wheels else []
    shutil.rmtree(work, ignore_errors=True)
    machines = dict.fromkeys(WHEELS[kind] for kind in wheels)
    total, done = 1 + len(machines) + len(wheels), 0

    def step(text: str) -> None:
        nonlocal done
        done += 1
        print(f"[{done}/{total}] {time.strftime('%H:%M:%S')} {text}", flush=True)

    step(f"sdist of {of}")
    tree = work / "tree"
    copy_tree(ROOT, tree)
    (tree / "COMMIT").write_text(f"{of}\n")
    sdist = build_sdist(tree, into if "sdist" in kinds else work, date)
    rows = [(sdist, 0.0)] if "sdist" in kinds else []
    for machine in machines:
        step(f"stub libraries of glibc 2.28 for {machine}")
        make_stubs(work / "stubs" / machine, machine)
    for kind in wheels:
        step(f"{kind} wheel, in {work / kind} (log: build.log)")
        source, machine, torch = unpack(sdist, work / kind), WHEELS[kind], torch_folder()
        stubs, mode = work / "stubs" / machine / "lib", "cuda" if kind == "cuda" else "cpu"
        if machine != platform.machine():
            torch = make_torch(work / kind / "torch", torch, compiler(machine))
        out = into if mode == "cuda" else into / mode
        rows.append(build_wheel(mode, source, torch, stubs, machine, out))
    return _tell(rows, folders, into)


def _date() -> int:
    """SOURCE_DATE_EPOCH, which is set where it was not, for the programs that are called."""
    text = os.environ.setdefault("SOURCE_DATE_EPOCH", str(commit_time(ROOT)))
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) >= 2**32:
        raise Stop(
            f"SOURCE_DATE_EPOCH={text}: expected seconds since 1970; without it the commit's are taken"
        )
    return int(text)


def _tell(rows: Sequence[tuple[Path, float]], folders: Sequence[str], into: Path) -> int:
    table = [("file", "tag", "MB", "glibc", "architectures", "CPU s")]
    defects: list[str] = []
    for path, seconds in rows:
        name, size = str(path.relative_to(into.parent)), f"{path.stat().st_size / 1e6:.2f}"
        if path.suffix == ".whl":
            from examine import examine  # needs a package that only wheels need

            facts = examine(path, folders)
            defects += [f"{path.name}: {defect}" for defect in facts.defects]
            table.append(
                (name, facts.tag, size, facts.glibc, " ".join(facts.architectures) or "-", f"{seconds:.0f}")
            )
        else:
            table.append((name, "sdist", size, "-", "-", "-"))
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    print()
    for row in table:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip())
    for defect in defects:
        print(f"make wheel: {defect}", file=sys.stderr)
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
