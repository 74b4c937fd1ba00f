"""Every ```python block of README and docs runs: page by page, in order, in one namespace, on small data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import PAGES, ROOT, blocks, name_of
from torch.func import functional_call

from bodvcl.bilevel.solvers import make_solver
from bodvcl.cli.embed import main as embed_main
from bodvcl.cli.export import main as export_main
from bodvcl.cli.finetune import main as finetune_main
from bodvcl.config.schema import BilevelConfig
from bodvcl.data.sets import DATA_SETS, open_dataset
from bodvcl.objectives.base import ObjectiveInput

RUN = "runs/20261120-101500-simclr-bod"
"""The run folder that the pages speak of."""
TUNED = "runs/20261121-093000-finetune"
"""The fine-tuning that the pages speak of."""
UCF101 = "datasets/UCF101"
"""The data set that the pages speak of."""
EMBEDDED = ("videos.parquet", "videos.safetensors")
"""The files of embeddings that the pages speak of."""
EXPORTS = {
    "encoder.safetensors": "safetensors",
    "encoder.pt": "torchscript",
    "encoder.pt2": "torch.export",
    "my-encoder": "hf",
}
"""The exports that docs/export.md loads, and their formats."""
NOT_RUN_AT_MOST = 3
TUNE = [
    "--checkpoint", "scratch", "--width", "4", "--device", "cpu", "--workers", "0", "--batch-size", "4",
    "--epochs", "1", "--clip.size", "16", "--test.clips", "1", "--data", "shapes", "--label", "shape",
    "--shapes.train-videos", "8", "--shapes.probe-videos", "16", "--shapes.frames", "20", "--shapes.size",
    "32", "--shapes.cache", "shapes",
]  # fmt: skip


@pytest.mark.parametrize("page", [p for p in PAGES if any(blocks(p, "python"))], ids=name_of)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    if RUN in text:
        Path(RUN).parent.mkdir()
        Path(RUN).symlink_to(request.getfixturevalue("finished_run"))
    if TUNED in text:
        assert finetune_main([*TUNE, "--run-dir", TUNED]) == 0
    if "import datasets" in text:
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for name in (name for name in EMBEDDED if f'"{name}"' in text):
        run = str(request.getfixturevalue("finished_run"))
        assert embed_main(["shapes", "--checkpoint", run, "--out", name, "--workers", "0"]) == 0
    if page.name == "export.md":
        for name, to in EXPORTS.items():
            assert export_main([RUN, "--to", to, "--out", name]) == 0
    if UCF101 in text:
        _ucf101(Path(UCF101))
    scope: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page, "python"):
        if block.not_run is None:
            source = tmp_path / f"{page.stem}_{block.line}.py"  # a file, so that a traceback shows its lines
            source.write_text("\n" * (block.line - 1) + block.text)
            exec(compile(source.read_text(), str(source), "exec"), scope)
    RESULTS.get(name_of(page), lambda scope: None)(scope)


def test_few_blocks_are_not_run_and_each_says_why():
    found = [block for page in PAGES for block in blocks(page, "python")]
    listed = {str(block): block.not_run for block in found if block.not_run is not None}
    print("not run:", *(f"{where}: {reason}" for where, reason in listed.items()), sep="\n  ")
    assert len(listed) <= NOT_RUN_AT_MOST, listed
    assert all(len(reason.split()) > 2 for reason in listed.values()), listed


def test_python_is_always_marked_as_python():
    """A block with another mark, or none, would escape the test above."""
    for page in PAGES:
        for block in blocks(page):
            imports = re.search(r"^\s*(from \S+ )?import ", block.text, re.MULTILINE)
            python = block.language not in ("python", "yaml", "bibtex") and imports
            assert not python, f"{block}: looks like Python, but is marked {block.language!r}"


def test_the_first_example_is_the_same_everywhere():
    first = {name: next(blocks(ROOT / name, "python")).text for name in FIRST_EXAMPLE}
    assert len(set(first.values())) == 1, first
    assert len(first["README.md"].splitlines()) <= 12


FIRST_EXAMPLE = ("README.md", "docs/index.md")


def _koopman(scope: Mapping[str, Any]) -> None:
    assert scope["split"].static.shape == (64, 128)
    assert scope["operator"].modes().shape == (128, 7)
    assert scope["features"].grad.isfinite().all()
    assert scope["each"].shape == (64, 8, 128)
    assert scope["slope"].isfinite()


def _contrastive(scope: Mapping[str, Any]) -> None:
    assert scope["loss"].shape == (2,)
    assert scope["z"].grad.isfinite().all()
    assert scope["tau"].grad.isfinite().all()


def _library(scope: Mapping[str, Any]) -> None:
    """The gradient of the page's bi-level step is that of the exact solver."""
    encoder, loss_fn = scope["Encoder"](), scope["loss_fn"]
    clips, ids = torch.randn(8, 3, 8, 8, 8), torch.arange(4).repeat_interleave(2)

    class Batch:
        head: frozenset[str] = frozenset()

        def lower(self, params, features=None, *, twice=False):
            return loss_fn.prediction(functional_call(encoder, params, clips))

        def upper(self, params, features=None):
            losses = loss_fn(functional_call(encoder, params, clips), ids)
            return losses["static"] + 0.3 * losses["dynamic"]

    exact = make_solver(BilevelConfig(solver="itd", scope="all", gamma=0.5))
    want = exact(dict(encoder.named_parameters()), Batch()).gradient
    scope["bilevel_loss"](encoder, clips, ids, gamma=0.5).backward()
    for name, p in encoder.named_parameters():
        torch.testing.assert_close(p.grad, want[name], rtol=1e-3, atol=1e-5)
    assert scope["features"].shape[:2] == scope["embeddings"].shape[:2] == (1, 8)
    assert scope["each"].shape == (2,)


def _embed(scope: Mapping[str, Any]) -> None:
    """Every reader gives the same vectors."""
    rows, dynamic = len(scope["frame"]), scope["embeddings"].vectors["dynamic"]
    assert rows == 28
    assert scope["static"].tolist() == scope["embeddings"].vectors["static"].tolist()
    assert scope["rows"][3]["dynamic"].tolist() == dynamic[3].tolist()
    assert (
        scope["vectors"]["dynamic"].tolist() == scope["same"].vectors["dynamic"].tolist() == dynamic.tolist()
    )
    assert scope["index"]["path"].tolist() == scope["frame"]["path"].tolist() == scope["same"].paths


def _extending(scope: Mapping[str, Any]) -> None:
    """The method leaves out an empty stream; the data set can be opened by its name."""
    z = torch.zeros(4, 2, 3)
    z[0] = z[1, 0] = torch.tensor([2.0, 0, 0])
    z[1, 1], z[2, 0] = torch.tensor([0, 5.0, 0]), torch.ones(3)
    batch = ObjectiveInput({"static": z.flatten(0, 1)}, torch.arange(4).repeat_interleave(2), views=2)
    assert scope["Alignment"]()(batch)["static"].item() == 1.0  # the mean of 0 and 2; two videos do not count

    for name in ("wild/b.mp4", "calm/a.mp4"):
        Path(name).parent.mkdir()
        Path(name).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATA_SETS, "moods", scope["MOODS"])
        found = open_dataset("moods:.")
    assert [(row.path, row.split, row.labels) for row in found.rows] == [
        (str(Path("calm/a.mp4")), "", {"label": "calm"}),
        (str(Path("wild/b.mp4")), "", {"label": "wild"}),
    ]


RESULTS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "docs/koopman.md": _koopman,
    "docs/contrastive.md": _contrastive,
    "docs/extending.md": _extending,
    "docs/library.md": _library,
    "docs/embed.md": _embed,
}
"""What must hold after the last block of a page."""


def _ucf101(root: Path) -> None:
    """The official layout with one class and two videos. Nothing opens them."""
    lists, videos = root / "ucfTrainTestlist", root / "UCF-101" / "ApplyEyeMakeup"
    lists.mkdir(parents=True)
    videos.mkdir(parents=True)
    for group in ("g01", "g08"):
        (videos / f"v_ApplyEyeMakeup_{group}_c01.avi").touch()
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\n")
    (lists / "trainlist02.txt").write_text("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi 1\n")
    (lists / "testlist02.txt").write_text("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi\n")
