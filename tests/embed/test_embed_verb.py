"""`bodvcl embed` writes the features of the probe, keeps what it has, and refuses what does not fit."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from video_files import write_video

from bodvcl.config.schema import ClipConfig, ModelConfig
from bodvcl.data.files.scan import scan
from bodvcl.embed.file import read_embeddings
from bodvcl.embed.query import embed_query
from bodvcl.engine.checkpoint import load_run
from bodvcl.errors import CheckpointError, DataError
from bodvcl.evaluate.features import batch_features
from bodvcl.evaluate.reading import read_clips
from bodvcl.finetune.network import VideoClassifier
from bodvcl.finetune.saved import ClassifierFacts, save_classifier
from bodvcl.models.backbones.build import build_backbone


def clips_of(found, config):
    return read_clips(found.videos, config.clip, clips_per_video=3, workers=0)


def test_vectors_are_the_features_of_the_probe(embed, encoder_run, listed, tmp_path):
    out = tmp_path / "out.parquet"
    assert embed(listed, out) == 0
    encoder, config = load_run(encoder_run)
    found = scan(listed, clip=config.clip, workers=0)
    want = batch_features(encoder, clips_of(found, config), config.augment, config.koopman, "cpu").kinds
    got = read_embeddings(out)
    for kind, features in {"pooled": "backbone+std", "static": "static", "dynamic": "dynamic"}.items():
        np.testing.assert_array_equal(got.vectors[kind], want[features].numpy())
    held = (replace(b, clips=b.clips[:, 2:3].expand_as(b.clips)) for b in clips_of(found, config))
    frozen_frame = batch_features(encoder, held, config.augment, config.koopman, "cpu").kinds["backbone"]
    np.testing.assert_allclose(got.vectors["still"], frozen_frame.numpy(), rtol=1e-5, atol=1e-6)
    assert list(got.paths) == [str(listed.with_name(f"{name}.mp4")) for name in "abcde"]
    assert got.size.tolist() == [os.path.getsize(path) for path in got.paths]
    assert got.start.tolist() == [0] * 5
    np.testing.assert_allclose(got.end, [video.frames / 25 for video in found.videos])
    assert got.labels == {
        "gesture": ["wave", "wave", "wave", "point", None],
        "label_start": list("abcde"),
        "split": ["train"] * 5,
    }
    assert (got.about.step, got.about.window, got.about.clips) == (7, None, 3)


def test_a_query_has_the_vectors_of_its_row(embed, other_run, videos, tmp_path):
    assert embed(videos, tmp_path / "out.parquet") == 0
    found = read_embeddings(tmp_path / "out.parquet")
    moved = tmp_path / "elsewhere.mp4"
    shutil.copy(videos / "c.mp4", moved)
    for kind, vector in embed_query(str(moved), found.about).items():
        np.testing.assert_allclose(vector, found.vectors[kind][2], rtol=1e-5, atol=1e-6)
    part = embed_query(str(moved), found.about, seconds=1.0)
    assert part["static"].shape == (8,)
    assert not np.allclose(part["static"], found.vectors["static"][2], rtol=1e-3)
    with pytest.raises(CheckpointError, match="other weights"):
        embed_query(str(moved), found.about, checkpoint=other_run)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        embed_query(str(moved), found.about, checkpoint=tmp_path / "nowhere.pt")
    with pytest.raises(DataError, match="no second 60"):
        embed_query(str(moved), found.about, seconds=60)
    with pytest.raises(DataError, match="no such file"):
        embed_query("nowhere.mp4", found.about)


def test_a_finished_file_is_brought_up_to_date(embed, videos, tmp_path, capsys):
    out = tmp_path / "out.parquet"
    assert embed(videos, out) == 0
    before = read_embeddings(out)
    write_video(videos / "bb.mp4", 40)
    write_video(videos / "d.mp4", 33)
    (videos / "e.mp4").unlink()
    capsys.readouterr()
    assert embed(videos, out) == 0
    said = capsys.readouterr().out
    assert "3 videos unchanged, their vectors are kept" in said
    assert "2 videos changed or no longer there" in said
    after = read_embeddings(out)
    assert [Path(path).stem for path in after.paths] == ["a", "b", "bb", "c", "d"]
    for kind in before.vectors:
        np.testing.assert_array_equal(after.vectors[kind][[0, 1, 3]], before.vectors[kind][:3])
    anew = tmp_path / "anew.parquet"
    assert embed(videos, anew) == 0
    for kind, vectors in read_embeddings(anew).vectors.items():
        np.testing.assert_allclose(after.vectors[kind], vectors, rtol=1e-5, atol=1e-6)


def test_a_built_in_set_and_one_file_and_tars_are_sources(embed, videos, tmp_path):
    from tar_files import write_tar

    assert embed(videos / "b.mp4", tmp_path / "one.parquet") == 0
    one = read_embeddings(tmp_path / "one.parquet")
    assert list(one.paths) == [str(videos / "b.mp4")]
    tar = write_tar(
        tmp_path / "tars" / "0.tar",
        {"x.mp4": videos / "b.mp4", "y.mp4": videos / "c.mp4"},
        {"x.cls": "0", "y.cls": "1"},
    )
    assert embed(tar, tmp_path / "tar.parquet") == 0
    held = read_embeddings(tmp_path / "tar.parquet")
    assert list(held.paths) == [f"{tar}/x.mp4", f"{tar}/y.mp4"]
    assert held.size.tolist() == [os.path.getsize(videos / name) for name in ("b.mp4", "c.mp4")]
    np.testing.assert_allclose(held.vectors["static"][0], one.vectors["static"][0], rtol=1e-5, atol=1e-6)


def test_what_cannot_be_read_is_listed_and_the_rest_is_written(embed, videos, tmp_path, capsys, monkeypatch):
    """The file is readable when the data are scanned, and damaged when it is its turn."""
    from bodvcl.data.files.video import BadVideo
    from bodvcl.embed import reading

    load = reading.load_in_order

    def damaged(info, *rest):
        if info.path.endswith(("b.mp4", *names)):
            raise BadVideo(info.path, "frame 3 of 37 is damaged")
        load(info, *rest)

    names: tuple[str, ...] = ()
    monkeypatch.setattr(reading, "load_in_order", damaged)
    out = tmp_path / "out.parquet"
    assert embed(videos, out) == 0
    said = capsys.readouterr().out
    assert f"could not be read: {videos / 'b.mp4'}: frame 3 of 37 is damaged" in said
    assert "4 videos" in said
    assert "; 1 video could not be read" in said
    assert [Path(path).stem for path in read_embeddings(out).paths] == ["a", "c", "d", "e"]

    names = ("a.mp4", "c.mp4", "d.mp4", "e.mp4")
    assert embed(videos, tmp_path / "none.parquet") == 2
    assert "none of 5 videos could be read" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "videos"]

    monkeypatch.setattr(reading, "load_in_order", load)
    assert embed(videos, out) == 0  # what could not be read is tried again
    assert len(read_embeddings(out)) == 5


def test_a_dry_run_writes_nothing(embed, videos, tmp_path, capsys):
    assert embed(videos, tmp_path / "out.parquet", "--window", "0.5", "--dry-run") == 0
    assert "20 windows of 0.5 s" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_a_fine_tuned_network_has_no_streams(embed, videos, tmp_path, capsys):
    model = ModelConfig(width=4)
    network = VideoClassifier(build_backbone(model), 2, 0.0, trained=0)
    facts = ClassifierFacts(
        model,
        ("a", "b"),
        "mean",
        False,
        "label",
        False,
        ClipConfig(frames=4, stride=2, size=16),
        0.5,
        0.5,
        "",
    )
    (tmp_path / "tuned" / "checkpoint").mkdir(parents=True)
    file = save_classifier(tmp_path / "tuned", network, facts)
    assert embed(videos, tmp_path / "out.parquet", run=file) == 0
    found = read_embeddings(tmp_path / "out.parquet")
    assert found.about.widths == {"pooled": 2 * network.backbone.dim, "still": network.backbone.dim}
    assert (found.about.decouple, found.about.koopman) == ("none", {})
    query = embed_query(str(videos / "a.mp4"), found.about)
    np.testing.assert_allclose(query["pooled"], found.vectors["pooled"][0], rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="has no static vectors; it has pooled"):
        read_embeddings(tmp_path / "out.parquet", ["static"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--step", "1"], "--step 1 applies only to windows; add --window SECONDS"),
        (["--clips-per-window", "2"], "--clips-per-window applies only to windows"),
        (["--window", "0.1"], "--window 0.1: a clip of 4 frames with stride 2 takes 0.28 s"),
        (["--window", "0"], "--window: input should be greater than 0"),
        (["--out", "here.csv"], "here.csv: expected a name that ends in .parquet or .safetensors"),
        (["--out", "/proc/here.parquet"], "--out: cannot write /proc/here.parquet"),
        (["--checkpoint", "nowhere"], "no checkpoint at nowhere"),
        (["--clip.frames", "60"], "none of its 5 video files can be used"),
        (["--device", "tpu"], "--device tpu: expected auto, cpu, cuda or cuda:N"),
    ],
)
def test_bad_options_are_refused_in_one_line(embed, videos, tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    assert embed(videos, tmp_path / "out.parquet", *options) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("bodvcl embed: error: ")
    assert said in error
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_other_files_and_data_at_out_are_not_lost(embed, videos, tmp_path, capsys):
    out = tmp_path / "out.parquet"
    out.write_text("mine")
    assert embed(videos, out) == 2
    assert "is there and is no file of bodvcl embed: replace it with --restart" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert embed(videos, out, "--restart") == 0
    assert embed(videos / "a.mp4", out) == 2
    assert f"differs in the data ({videos}, now {videos / 'a.mp4'})" in capsys.readouterr().err
    assert len(read_embeddings(out)) == 5
    empty = tmp_path / "empty"
    empty.mkdir()
    assert embed(empty, out) == 2
    assert len(read_embeddings(out)) == 5


def test_an_unfinished_run_is_refused(embed, videos, tmp_path, capsys):
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint" / "last.pt").write_bytes(b"")
    assert embed(videos, tmp_path / "out.parquet", run=tmp_path / "run") == 2
    assert "its training was not finished" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_vectors_on_a_gpu_are_those_on_a_cpu(embed, videos, tmp_path, monkeypatch):
    """Also where a whole batch cannot be read."""
    from bodvcl.data.files.video import BadVideo
    from bodvcl.embed import plan, reading

    load = reading.load_in_order

    def damaged(info, *rest):
        if info.path.endswith("b.mp4"):
            raise BadVideo(info.path, "damaged")
        load(info, *rest)

    monkeypatch.setattr(reading, "load_in_order", damaged)
    monkeypatch.setattr(plan, "FRAMES_AT_ONCE", 1)
    assert embed(videos, tmp_path / "cpu.parquet") == 0
    assert embed(videos, tmp_path / "gpu.parquet", "--device", "cuda") == 0
    cpu, gpu = (read_embeddings(tmp_path / name) for name in ("cpu.parquet", "gpu.parquet"))
    assert list(gpu.paths) == list(cpu.paths)
    for kind, vectors in cpu.vectors.items():
        cosine = (vectors * gpu.vectors[kind]).sum(1)
        cosine /= np.linalg.norm(vectors, axis=1) * np.linalg.norm(gpu.vectors[kind], axis=1)
        assert cosine.min() > 0.99, kind
