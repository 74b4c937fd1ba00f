"""Every example runs from another folder, as a user would start it, and shows what it says that it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest
from patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def run(folder: Path, name: str, *options: str) -> str:
    """What an example prints."""
    done = attempt(folder, name, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def attempt(folder: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *options],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def numbers(printed: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf"{name} (-?[\d.]+|nan|inf)", printed)]


def test_own_loop_learns(tmp_path):
    printed = run(tmp_path, "own_loop.py")
    assert len(printed.splitlines()) == 5
    for name in ("static", "dynamic"):
        first, *_, last = numbers(printed, name)
        assert last < first - 0.1
    assert np.isfinite(numbers(printed, "prediction")).all()


def test_lightly_before_and_after_differ_in_the_loss_and_both_learn(tmp_path):
    before = numbers(run(tmp_path, "lightly_loop.py", "--before"), "loss")
    after = numbers(run(tmp_path, "lightly_loop.py"), "loss")
    assert before[0] != after[0]
    assert before[-1] < before[0] - 0.1
    assert after[-1] < after[0] - 0.1


def test_the_lightning_module_trains(tmp_path):
    printed = run(tmp_path, "lightning_module.py", "--steps", "5")
    for name in ("static", "dynamic", "prediction"):
        assert np.isfinite(numbers(printed.splitlines()[-1], name)).sum() == 1
    assert not list(tmp_path.iterdir()), "an example leaves nothing behind"


def test_split_only_finds_what_stays_and_what_changes(tmp_path):
    printed = run(tmp_path, "split_only.py", "--plot", "split.png")
    assert "clip 0: mean length of the static part 2.000, of the dynamic part 1.000" in printed
    assert "1.00 at +52°" in printed  # 0.9 radians a frame
    assert "clip 1: mean length of the static part 2.000, of the dynamic part 0.208" in printed
    assert "0.60 at +0°" in printed
    assert (tmp_path / "split.png").stat().st_size > 1000


def test_split_only_reads_features_from_a_file(tmp_path):
    np.save(tmp_path / "features.npy", np.ones((3, 5, 4), np.float32))
    printed = run(tmp_path, "split_only.py", "--features", "features.npy")
    assert printed.count("mean length of the static part 2.000, of the dynamic part 0.000") == 3
    np.save(tmp_path / "clip.npy", np.ones((5, 4), np.int64))
    assert run(tmp_path, "split_only.py", "--features", "clip.npy") == "".join(
        f"{line}\n" for line in printed.splitlines()[:2]
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot read features.npy: [Errno 2] No such file or directory"),
        (b"text", "cannot read features.npy: "),
        (np.array(["text"]), "cannot read features.npy: "),
        (np.ones(5), "features.npy holds (5,) numbers; expected (clips, frames, width), 3 frames or more"),
    ],
    ids=["missing", "not an array", "not numbers", "one axis"],
)
def test_split_only_says_what_is_wrong_with_a_file(tmp_path, content, why):
    file = tmp_path / "features.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        np.save(file, content)
    done = attempt(tmp_path, "split_only.py", "--features", "features.npy")
    assert done.returncode == 2
    assert f"argument --features: {why}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_find_alike_ends_with_two_pages_and_the_command_for_a_third(tmp_path):
    tiny = ["--device", "cpu", "--workers", "0", "--batch-size", "4", "--epochs", "2", "--clip.size", "16"]
    tiny += [
        "--shapes.cache",
        str(tmp_path / "shapes"),
        "--shapes.train-videos",
        "12",
        "--shapes.probe-videos",
        "16",
    ]
    tiny += ["--shapes.frames", "20", "--shapes.size", "32", "--model.width", "4", "--model.embed-dim", "12"]
    printed = run(tmp_path, "find_alike.py", "--out", "alike", *tiny)
    shares = re.findall(r"^ (\w+) +\d+\.\d +\d+\.\d +\d+\.\d +\d+\.\d", printed, re.MULTILINE)
    assert shares == ["background", "shape", "brightness", "trajectory"]
    for name in ("appearance", "motion"):
        assert (tmp_path / "alike" / f"{name}.html").read_text().count("data:video/mp4") == 11
    assert printed.splitlines()[-1] == "  bodvcl serve alike/videos.parquet"


def test_the_notebook_shows_the_split(tmp_path):
    notebook = nbformat.read(EXAMPLES / "split_of_a_clip.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=PATIENCE, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "1 of 12 eigenvalues are static" in printed
    assert float(re.search(r"sum of their parts: (\S+) of", printed).group(1)) < 1e-3
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(EXAMPLES / "split_of_a_clip.ipynb", as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


def test_the_list_of_examples_is_complete():
    listed = re.findall(r"\]\((.*?)\)", (EXAMPLES / "README.md").read_text())
    assert sorted(listed) == sorted(
        path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")
    )
