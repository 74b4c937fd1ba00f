"""Merge what `make bench-record`, bench/gpu_check.sh or bench/gpu_compare.sh left in a folder into one result
of bench/results: a .json file, and of a comparison .md and .png too."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from pathlib import Path

KEPT = ("min", "median", "max", "rounds")


def tests_summary(path: Path) -> dict:
    """Counts and the names of failed tests from a JUnit file; empty where the tests did not get that far."""
    if not path.exists():
        return {}
    suite = ET.parse(path).getroot().find("testsuite")
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    return counts | {"failed": failed}


def benchmarks_summary(path: Path) -> list[dict]:
    """Name, group, parameters, seconds and extra figures of every benchmark."""
    if not path.exists() or not path.stat().st_size:
        return []
    return [
        {
            "name": b["name"],
            "group": b["group"],
            "seconds": {key: b["stats"][key] for key in KEPT},
            "extra": b["extra_info"],
        }
        for b in json.loads(path.read_text())["benchmarks"]
    ]


def git(*arguments: str) -> str | None:
    """Output of a git command, or None outside a checkout and without git."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def comparison_summary(runs: Path) -> dict:
    """Tables of a comparison, what they leave out, and how long every finished run trained."""
    return {
        "tables": json.loads((runs / "comparison.json").read_text()),
        "left_out": json.loads((runs / "comparison.left_out.json").read_text()),
        "runs": [
            {
                "folder": str(path.parent.parent.relative_to(runs)),
                "options": json.loads((path.parent.parent / "arguments.json").read_text()),
                "summary": json.loads(path.read_text()),
            }
            for path in sorted(runs.glob("*/*/*/*/run/summary.json"))
            if (path.parent / "probe.json").exists()
        ],
    }


def heading(result: dict) -> str:
    """Where and of what the figures are, for a Markdown file."""
    packages = ", ".join(f"{name} {version}" for name, version in result["packages"].items() if version)
    commit = f"commit {result['commit'] or 'unknown'}" + ("" if result["clean"] else ", with changes")
    device = result["device"]["model"] if isinstance(result["device"], dict) else "; ".join(result["device"])
    return f"{device}, {result['date']}, {commit}, Python {result['python']}, {packages}.\n\n"


def main() -> None:
    """Read the work folder, write the result, print its path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tests", type=int, help="exit code of the tests, where they were run")
    parser.add_argument("--benchmarks", type=int, default=0, help="exit code of the benchmarks")
    parser.add_argument(
        "--comparison", type=Path, help="folder of a comparison, instead of tests and benchmarks"
    )
    options = parser.parse_args()
    info = json.loads((options.work / "info.json").read_text())
    has_gpu = not info["gpu"][0].startswith("none")
    device = info["gpu"][0].partition(",")[0] if has_gpu else info["cpu"]["model"]
    result = {
        "device": info["gpu"] if has_gpu else info["cpu"],
        "date": time.strftime("%Y-%m-%d"),
        "commit": git("rev-parse", "HEAD"),
        "clean": git("status", "--porcelain") == "",
        "python": info["python"],
        "packages": info["packages"],
        "build": info["build"],
    }
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    name = f"{'gpu' if has_gpu else 'cpu'}-{slug}-{result['date']}"
    if options.comparison:
        name += "-compare"
        result["comparison"] = comparison_summary(options.comparison)
        text = (options.comparison / "comparison.md").read_text()
        (options.out / f"{name}.md").write_text(heading(result) + text)
        shutil.copy(options.comparison / "comparison.png", options.out / f"{name}.png")
    else:
        result |= {
            "tests": {"exit_code": options.tests} | tests_summary(options.work / "tests.xml"),
            "benchmarks_exit_code": options.benchmarks,
            "benchmarks": [
                entry
                for path in sorted(options.work.glob("bench*.json"))
                for entry in benchmarks_summary(path)
            ],
        }
    path = options.out / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
