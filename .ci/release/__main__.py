"""Check a release: `make release-check`, or python .ci/release [--only PART ...].

Takes the files of `make wheel` from dist/. Nothing is uploaded. docs/release.md explains every check.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # for the version and the ranges; these modules import nothing else

from archives import index_problems, sdist_problems, tag_problems, wheel_problems  # noqa: E402
from environment import Environment  # noqa: E402
from matrix import Row, described_row, rows, wheels_for  # noqa: E402
from outcome import FAILED, NOT_CHECKED, PASSED, Outcome, table  # noqa: E402
from version import tags_here, version_problems  # noqa: E402

import bodvcl  # noqa: E402


def main(argv: Sequence[str]) -> int:
    """Run the checks and print a table; exit code 1 where one failed, 2 for what the user can mend."""
    options = _options(argv)
    version = bodvcl.__version__
    wheels = sorted(options.dist.glob("*.whl")) + sorted(options.dist.glob("cpu/*.whl"))
    sdists = sorted(options.dist.glob(f"bodvcl-{version}.tar.gz"))
    if not wheels or not sdists:
        print(
            f"release-check: {options.dist} has no wheel or no sdist: make wheel builds them", file=sys.stderr
        )
        return 2
    usable = wheels_for(platform.machine(), wheels)
    if not usable:
        print(f"release-check: no wheel of {options.dist} is for {platform.machine()}", file=sys.stderr)
        return 2
    uv = shutil.which("uv")
    missing = [name for name in ("auditwheel", "cyclonedx", "twine") if find_spec(name) is None]
    if uv is None or missing:
        lacks = ", ".join([*missing, *([] if uv else ["uv"])])
        print(f"release-check: {lacks} not found: make release-check installs it into .venv", file=sys.stderr)
        return 2
    chosen = [row for row in rows() if not options.only or any(part in row.name for part in options.only)]
    outcomes = []
    for outcome in _all(options, version, wheels, usable, sdists[0], chosen, uv):
        outcomes.append(outcome)
        print(f"{time.strftime('%H:%M:%S')} {outcome.subject}: {outcome.check}: {outcome.state}", flush=True)
    skipped = [row.name for row in rows() if row not in chosen]
    outcomes += [Outcome(name, "install", NOT_CHECKED, "left out by --only") for name in skipped]
    return _tell(outcomes, options.work)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python .ci/release", description=__doc__)
    parser.add_argument(
        "--dist", type=Path, default=ROOT / "dist", help="folder of the files (default: dist)"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "build/release", help="default: build/release")
    parser.add_argument("--only", nargs="*", default=[], metavar="PART",
                        help="only environments with this in their name; 'none': only the files")  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep the environments (several GB each)")
    options = parser.parse_args(argv)
    options.work, options.dist = options.work.resolve(), options.dist.resolve()
    return options


def _all(
    options: argparse.Namespace,
    version: str,
    wheels: Sequence[Path],
    usable: Sequence[Path],
    sdist: Path,
    chosen: Sequence[Row],
    uv: str,
) -> Iterator[Outcome]:
    yield _judged("sources", "version", version_problems, ROOT, version, tags_here(ROOT))
    for file in (sdist, *wheels):
        yield _judged(file.name, "index", index_problems, [file])
    yield _judged(sdist.name, "members", sdist_problems, sdist, ROOT)
    for wheel in wheels:
        yield _judged(wheel.name, "members", wheel_problems, wheel, ROOT, version)
        yield _judged(wheel.name, "platform", tag_problems, wheel)
    for row in chosen:
        described = row == described_row()
        wheel = usable[0 if described else rows().index(row) % len(usable)]
        package = sdist if row.source == "sdist" else wheel
        bom = options.dist / f"bodvcl-{version}.cdx.json" if described else None
        yield from _row(Environment(row, package, options.work / row.name, uv), bom)
        if not options.keep:
            shutil.rmtree(options.work / row.name / "venv", ignore_errors=True)


def _row(environment: Environment, bom: Path | None) -> Iterator[Outcome]:
    """The steps of an environment, and the SBOM of its wheel where a file for it is given."""
    for outcome in environment.run():
        yield outcome
        if bom is not None and outcome.check == "install" and outcome.state == PASSED:
            yield _judged(environment.package.name, "SBOM", _bom_problems, environment, bom)


def _bom_problems(environment: Environment, bom: Path) -> list[str]:
    from sbom import environment_bom, wheel_bom, write_bom

    return write_bom(wheel_bom(environment_bom(environment.python), environment.package), bom)


def _judged(subject: str, check: str, find: Callable[..., list[str]], *arguments: object) -> Outcome:
    """The outcome of a function that returns problems; what it cannot read, in whatever way, is one."""
    start = time.monotonic()
    try:
        problems = find(*arguments)
    except Exception as error:
        problems = [f"cannot be checked: {type(error).__name__}: {' '.join(str(error).split())}"]
    state = FAILED if problems else PASSED
    return Outcome(subject, check, state, "; ".join(problems), time.monotonic() - start)


def _tell(outcomes: Sequence[Outcome], work: Path) -> int:
    work.mkdir(parents=True, exist_ok=True)
    (work / "release.json").write_text(json.dumps([o._asdict() for o in outcomes], indent=2) + "\n")
    print(f"\n{table(outcomes)}\n")
    for outcome in outcomes:
        if outcome.state != PASSED:
            print(f"{outcome.state}: {outcome.subject}: {outcome.check}: {outcome.reason}", file=sys.stderr)
    counts = {state: sum(o.state == state for o in outcomes) for state in (PASSED, FAILED, NOT_CHECKED)}
    print(", ".join(f"{count} {state}" for state, count in counts.items()), f"({work / 'release.json'})")
    return 1 if counts[FAILED] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
