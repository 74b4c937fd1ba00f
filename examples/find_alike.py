"""From videos to their neighbours by appearance and by motion: python find_alike.py --out search

Trains on rendered videos, embeds them, tells how often the nearest videos share each label, and writes a page
of the neighbours of one video by appearance and one by motion. Options that this program does not know are
handed to ``bodvcl train``: python find_alike.py --out search --data scenes --epochs 12
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bodvcl.cli.main import main as bodvcl
from bodvcl.embed.file import read_embeddings

SHAPES = ("--shapes.classes", "4", "--epochs", "36")
"""Moving shapes with four backgrounds, four trajectories and four changes of brightness."""


def run(*command: str) -> None:
    """Run a verb of bodvcl as the command line does; end this program where it fails."""
    print(f"\n$ bodvcl {' '.join(command)}", flush=True)
    code = bodvcl(command)
    if code:
        sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the run, the embeddings and the pages"
    )
    parser.add_argument("--data", default="shapes", help="rendered videos: shapes, scenes or digits")
    parser.add_argument("--row", type=int, default=0, help="number of the video whose neighbours are shown")
    parser.add_argument("--count", type=int, default=10, help="number of neighbours")
    options, training = parser.parse_known_args()
    trained, file = options.out / "run", options.out / "videos.parquet"

    if not (trained / "summary.json").exists():
        how = training or (SHAPES if options.data == "shapes" else ())
        run("train", "--data", options.data, "--run-dir", str(trained), *how)
    run("embed", options.data, "--checkpoint", str(trained), "--out", str(file))
    run("search", str(file), "--agreement", "--top", str(options.count))

    query = read_embeddings(file, ()).paths[options.row]
    pages = {by: options.out / f"{by}.html" for by in ("appearance", "motion")}
    for by, page in pages.items():
        like = ("--like", query, "--by", by, "--top", str(options.count))
        run("search", str(file), *like, "--page", str(page))

    print(f"\nOpen {' and '.join(map(str, pages.values()))} in a browser, or click from video to video:")
    print(f"  bodvcl serve {file}")


if __name__ == "__main__":
    main()
