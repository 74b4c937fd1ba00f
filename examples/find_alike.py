"""From videos to their neighbours by appearance and by motion: python find_alike.py --out search

Trains on rendered videos (--data), embeds them, and shows which labels the nearest videos share. Options that
this program does not know are handed to ``bodvcl train``: python find_alike.py --out search --epochs 20
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bodvcl.cli.main import main as bodvcl
from bodvcl.search.space import Space, open_space

WEIGHT = {"appearance": 0.0, "motion": 1.0}
"""What is compared to the weight of motion in a score."""


def run(*command: str) -> None:
    """Run a verb of bodvcl as the command line does; end this program where it fails."""
    print(f"\n$ bodvcl {' '.join(command)}", flush=True)
    code = bodvcl(command)
    if code:
        sys.exit(code)


def shared(space: Space, label: str, rows: range, motion: float, count: int) -> tuple[float, float]:
    """Share of the nearest videos that have the label of the video in question, and of all other videos."""
    values = space.embeddings.labels[label]
    near = [values[hit.row] == values[row] for row in rows for hit in space.near_row(row, motion, count)]
    chance = [values[other] == values[row] for row in rows for other in range(len(values)) if other != row]
    return sum(near) / len(near), sum(chance) / len(chance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the run, the embeddings and the page"
    )
    parser.add_argument(
        "--data", default="shapes", help="what to train on and to search: shapes, scenes or digits"
    )
    parser.add_argument("--row", type=int, default=0, help="number of the video whose neighbours are shown")
    parser.add_argument("--count", type=int, default=10, help="number of neighbours")
    options, training = parser.parse_known_args()
    trained, file = options.out / "run", options.out / "videos.parquet"

    if not (trained / "summary.json").exists():
        run("train", "--data", options.data, "--run-dir", str(trained), *training)
    run("embed", options.data, "--checkpoint", str(trained), "--out", str(file))

    space = open_space(file)
    query = space.embeddings.paths[options.row]
    pages = {name: options.out / f"{name}.html" for name in WEIGHT}
    for name, page in pages.items():
        like = ("--like", query, "--by", name, "--top", str(options.count))
        run("search", str(file), *like, "--page", str(page))

    print(f"\nOf the {options.count} nearest videos, the share with the same label:")
    rows = range(0, len(space.embeddings), max(1, len(space.embeddings) // 100))
    for label in space.embeddings.labels:
        found = {name: shared(space, label, rows, weight, options.count) for name, weight in WEIGHT.items()}
        shares = ", ".join(f"by {name} {near:.0%}" for name, (near, _) in found.items())
        print(f"  {label}: {shares} (of all videos {found['motion'][1]:.0%})")
    print(f"\nOpen {' and '.join(map(str, pages.values()))} in a browser, or click from video to video:")
    print(f"  bodvcl serve {file}")


if __name__ == "__main__":
    main()
