"""The model card says what the run says, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

import bodvcl
from bodvcl.cli.export import main
from bodvcl.config.parse import load_yaml
from bodvcl.config.schema import ModelConfig, TrainConfig
from bodvcl.export.facts import ClipFormat, EncoderFacts, facts_of
from bodvcl.export.model_card import CITATION, data_name, model_card, run_folder_of
from bodvcl.system.commit import code_commit

ROOT = Path(__file__).parent.parent.parent


def export(run, out, *options) -> str:
    assert main([str(run), "--to", "hf", "--out", str(out), *options]) == 0
    return (out / "README.md").read_text()


@pytest.fixture(scope="module")
def card(finished_run, tmp_path_factory):
    return export(finished_run, tmp_path_factory.mktemp("card") / "my-encoder")


def head(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def table(card: str, section: str) -> list[list[str]]:
    """Cells of the table of a section, its heading first, without the rule."""
    text = card.split(f"## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def test_the_protocol_is_that_of_the_run(card, finished_run):
    config, summary = (
        load_yaml(finished_run / "config.yaml"),
        json.loads((finished_run / "summary.json").read_text()),
    )
    rows = dict(table(card, "Training"))
    assert rows["data"] == config.data == "shapes"
    assert rows["videos trained on"] == str(summary["training videos"]) == "12"
    assert rows["method"] == "V-SimCLR + BOD-VCL"
    assert rows["backbone"] == config.model.backbone
    assert rows["started from"] == "random weights"
    assert rows["clip"] == "8 frames, stride 2, 16 x 16 pixels"
    assert rows["epochs"] == str(config.epochs)
    assert rows["steps"] == str(summary["steps"])
    assert rows["videos per step"] == f"{config.batch_size}, {config.clip.views} clips of each"
    assert rows["precision"] == config.precision
    assert rows["seed"] == str(config.seed)
    assert rows["device"] == summary["device"]
    assert rows["seconds of training"] == str(summary["seconds"])
    assert "# my-encoder\n" in card
    assert f"bodvcl {bodvcl.__version__}" in card
    assert code_commit() in card


def test_the_figures_are_those_of_the_probe_at_the_end_of_the_run(card, finished_run):
    rows = json.loads((finished_run / "probe.json").read_text())["rows"]
    heading, *body = table(card, "What it reads from videos")
    assert len(body) == len({row["semantic"] for row in rows}) == 4
    for cells in body:
        shown = dict(zip(heading, cells))
        name = shown["semantic"].partition(" ")[0]
        mine = {row["features"]: row for row in rows if row["semantic"] == name}
        for kind in ("backbone", "backbone+std", "static", "dynamic"):
            assert shown[kind] == f"{100 * mine[kind]['pretrained']:.1f}", (name, kind)
        row = mine["backbone"]
        assert shown["semantic"] == f"{name} ({row['kind']})"
        assert shown["untrained"] == f"{100 * row['untrained']:.1f}"
        assert shown["chance"] == f"{100 * row['chance']:.1f}"
        assert (shown["training videos"], shown["test videos"]) == (str(row["train"]), str(row["test"]))
        gain, margin = shown["gain"].split(" ± ")
        assert float(gain.replace("−", "-")) == pytest.approx(100 * row["gain"], abs=0.05)
        assert float(margin) == pytest.approx(100 * row["gain_margin"], abs=0.05)


def test_the_code_of_the_card_works_as_written(card, tmp_path, finished_run, monkeypatch):
    export(finished_run, tmp_path / "my-encoder")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    scope: dict = {}
    exec(code, scope)
    assert scope["features"].shape == (1, 8, 16)
    assert scope["vector"].shape == (1, 32)
    assert scope["static"].shape == scope["dynamic"].shape == (1, 12)


def test_the_hub_can_read_its_head(card):
    from huggingface_hub import ModelCard

    data = ModelCard(card).data
    assert (data.library_name, data.pipeline_tag) == ("bodvcl", "feature-extraction")
    assert "video" in data.tags
    assert data.license is None


def test_a_licence_is_stated_only_where_one_was_given(card, finished_run, tmp_path):
    assert "license" not in head(card)
    assert "stated no licence" in card
    known = export(finished_run, tmp_path / "a", "--license", "Apache-2.0")
    assert head(known)["license"] == "apache-2.0"
    assert "Apache-2.0, as stated by" in known
    other = export(finished_run, tmp_path / "b", "--license", "GPL-3.0-only")
    assert (head(other)["license"], head(other)["license_name"]) == ("other", "GPL-3.0-only")
    assert "stated no licence" not in other


def test_what_the_run_does_not_know_is_not_said(finished_run, tmp_path):
    bare = tmp_path / "bare" / "encoder.pt"
    bare.parent.mkdir()
    shutil.copy(finished_run / "checkpoint" / "encoder.pt", bare)
    card = export(bare, tmp_path / "a")
    rows = dict(table(card, "Training"))
    assert "The run holds no results of a probe" in card
    assert "|" not in card.split("## What it reads")[1].split("## Intended")[0]
    assert not {"videos trained on", "device", "finished"} & {*rows}
    assert rows["steps"] == "6", "the file itself knows it"

    older = tmp_path / "older"
    shutil.copytree(finished_run, older)
    summary = json.loads((older / "summary.json").read_text())
    del summary["training videos"]
    (older / "summary.json").write_text(json.dumps(summary))
    rows = dict(table(export(older, tmp_path / "b"), "Training"))
    assert "videos trained on" not in rows
    assert rows["videos found in the data, those for the probe among them"] == "28"


def test_no_path_of_the_owner_is_in_the_card():
    config = dataclasses.replace(TrainConfig(), data="/home/someone/secret place/videos")
    state = {
        "version": "0.1.0",
        "step": 1234567,
        "model": dataclasses.asdict(ModelConfig(backbone="r3d_18", weights="/home/someone/r3d.pth")),
    }
    facts = facts_of(state, config)
    card = model_card("x", facts, config, None, None)
    assert "someone" not in card + facts.as_json()
    rows = dict(table(card, "Training"))
    assert (rows["data"], rows["started from"], rows["steps"]) == ("videos", "r3d.pth", "1,234,567")


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("shapes", "shapes"),
        ("ucf101@2:/data/UCF101", "ucf101, fold 2"),
        ("kinetics400:/data/k400", "kinetics400"),
        ("/data/my list.csv", "my list.csv"),
        ("s3://bucket/videos-{0..9}.tar", "videos-{0..9}.tar"),
    ],
)
def test_data_are_named_without_their_folder(spec, name):
    assert data_name(spec) == name


@pytest.mark.parametrize(
    ("backbone", "stride", "fps", "says"),
    [
        ("tiny", 1, None, "every single frame of a video, to one feature per frame."),
        ("tiny", 2, 12.5, "every 2nd frame of a video at 12.5 frames per second, to one feature per frame."),
        ("vit_b16", 11, None, "every 11th frame of a video, to one feature per 2 frames."),
    ],
)
def test_the_first_sentence_says_what_goes_in_and_out(backbone, stride, fps, says):
    clip = ClipFormat(frames=16, stride=stride, fps=fps, size=32, mean=0.45, std=0.225)
    config = TrainConfig()
    facts = EncoderFacts("0", 1, "moco", "none", ModelConfig(backbone=backbone), clip, config.koopman)
    card = model_card("x", facts, config, None, None)
    assert "without labels: V-MoCo with the backbone" in card
    assert says in card


def test_the_paper_is_cited_as_the_readme_cites_it():
    assert CITATION in (ROOT / "README.md").read_text()


def test_the_folder_of_a_checkpoint_is_found(finished_run, tmp_path):
    assert run_folder_of(finished_run) == finished_run
    assert run_folder_of(finished_run / "checkpoint" / "encoder.pt") == finished_run
    assert run_folder_of(tmp_path / "encoder.pt") is None
