"""``python -m bodvcl.train --fast`` as a user runs it, and a look at what it left. Writes figures.json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

LEFT = ("metrics.jsonl", "probe.json", "report.html", "summary.json")
REHEARSAL = [
    "--max-steps",
    "2",
    "--batch-size",
    "8",
    "--scenes.train-videos",
    "16",
    "--scenes.probe-videos",
    "32",
]


def main() -> None:
    """Train, check the folder of the run, and write the main figures."""
    folder = Path(sys.argv[1])
    cache = Path(os.environ["GPU_CHECK_WORK"]) / "scenes"
    line = [sys.executable, "-m", "bodvcl.train", "--fast", "--run-dir", str(folder / "run")]
    line += ["--scenes.cache", str(cache), *([] if torch.cuda.is_available() else REHEARSAL)]
    start = time.monotonic()
    if status := subprocess.run(line).returncode:
        sys.exit(f"the training ended with exit code {status}")
    seconds = time.monotonic() - start
    missing = [name for name in LEFT if not (folder / "run" / name).exists()]
    if missing:
        sys.exit(f"the run left no {', '.join(missing)}")
    summary = json.loads((folder / "run/summary.json").read_text())
    figures = {"seconds, rendering and probe included": round(seconds, 1)}
    figures |= {key: value for key, value in summary.items() if isinstance(value, (int, float))}
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
