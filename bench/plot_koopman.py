"""Draw the figure and print the table of docs/koopman.md from what bench/test_koopman.py measured.

pytest bench/test_koopman.py --benchmark-json=koopman.json
python bench/plot_koopman.py koopman.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

ROUTES = {"paper": "paper's formulas", "torch": "PyTorch route", "native": "native"}
COLOURS = {"paper": "#7f7f7f", "torch": "#d98c00", "native": "#1f5fa8"}


def read(path: Path) -> dict[tuple, dict[str, dict]]:
    """{(backward, B, M, T): {route: {"seconds", "share"}}} of a pytest-benchmark file."""
    table: dict[tuple, dict[str, dict]] = {}
    for entry in json.loads(path.read_text())["benchmarks"]:
        info = entry["extra_info"]
        if "share_of_copy" in info and info["settings"] == "paper":
            key = (info["backward"], info["B"], info["M"], info["T"])
            row = {"seconds": entry["stats"]["min"], "share": info["share_of_copy"]}
            table.setdefault(key, {})[info["route"]] = row
    return table


def short(x: float) -> str:
    """Three significant figures, without an exponent."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def markdown(table: dict[tuple, dict[str, dict]]) -> str:
    """One row per size: milliseconds of each route, ratios, share of the bandwidth of a plain copy."""
    lines = [
        "| pass | B | M | T | paper, ms | torch | native | paper / native | torch / native | of a copy |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (backward, b, m, t), routes in table.items():
        ms = {name: 1e3 * routes[name]["seconds"] for name in routes}
        cells = [short(ms[name]) if name in ms else "" for name in ROUTES]
        for other in ("paper", "torch"):
            both = other in ms and "native" in ms
            cells.append(short(ms[other] / ms["native"]) if both else "")
        cells.append(f"{100 * routes['native']['share']:.2g} %" if "native" in routes else "")
        name = "forward + backward" if backward else "forward"
        lines.append(f"| {name} | {b} | {m} | {t} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(table: dict[tuple, dict[str, dict]], out: Path) -> None:
    """Microseconds per clip, forward and backward, one group of bars per size."""
    sizes = [key for key in table if key[0]]
    figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    for i, route in enumerate(ROUTES):
        at = [j for j, key in enumerate(sizes) if route in table[key]]
        heights = [1e6 * table[sizes[j]][route]["seconds"] / sizes[j][1] for j in at]
        bars = axes.bar(
            [j + 0.27 * (i - 1) for j in at], heights, 0.25, label=ROUTES[route], color=COLOURS[route]
        )
        axes.bar_label(bars, [short(h) for h in heights], fontsize=7)
    axes.set_xticks(range(len(sizes)), [f"B={b} M={m}\nT={t}" for _, b, m, t in sizes], fontsize=8)
    axes.set_yscale("log")
    axes.set_ylabel("microseconds per clip")
    axes.set_title("Split and L_pred, forward and backward, float32", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, metadata={"Date": None})


def main() -> None:
    """Read the file, write the picture, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("json", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/img/koopman-bench.svg"))
    options = parser.parse_args()
    table = read(options.json)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    plot(table, options.out)
    print(markdown(table))


if __name__ == "__main__":
    main()
