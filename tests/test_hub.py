"""VideoEncoderModel: loaded, saved and uploaded as models of the Hugging Face Hub are."""

from __future__ import annotations

import filecmp
import json
import shutil
import socket

import huggingface_hub
import pytest
import torch

import bodvcl
from bodvcl.cli.export import main
from bodvcl.errors import CheckpointError
from bodvcl.hub import VideoEncoderModel

FILES = ["README.md", "config.json", "model.safetensors"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folder(finished_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("hub") / "my-encoder"
    assert main([str(finished_run), "--to", "hf", "--out", str(out)]) == 0
    return out


def same_weights(one, other):
    assert one.state_dict().keys() == other.state_dict().keys()
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))


def test_a_local_folder_gives_the_encoder_of_the_run_bit_for_bit(folder, finished_run):
    model, encoder = VideoEncoderModel.from_pretrained(folder), bodvcl.load_encoder(finished_run)
    assert same_weights(model, encoder)
    assert (model.facts, model.clip) == (encoder.facts, encoder.clip)
    assert not any(module.training for module in model.modules())
    frames = torch.randint(0, 256, (8, 24, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(model(model.prepare(frames)), encoder(encoder.prepare(frames)))


def test_it_is_saved_as_it_was_loaded(folder, tmp_path):
    model = VideoEncoderModel.from_pretrained(str(folder))
    model.save_pretrained(tmp_path / "again")
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == FILES
    assert all(filecmp.cmp(folder / name, tmp_path / "again" / name, shallow=False) for name in FILES)


def test_it_is_uploaded_with_its_card(folder, monkeypatch):
    sent = {}

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **_):
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, *, repo_id, folder_path, **_):
            sent[repo_id] = {path.name: path.read_bytes() for path in folder_path.iterdir()}
            return "done"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    assert VideoEncoderModel.from_pretrained(folder).push_to_hub("me/encoder") == "done"
    assert sent == {"me/encoder": {name: (folder / name).read_bytes() for name in FILES}}


def test_a_repository_is_fetched_by_its_files(folder, finished_run, monkeypatch, tmp_path):
    asked = []

    def fetch(repo_id, **options):
        asked.append((repo_id, options["revision"], sorted(options["allow_patterns"])))
        return str(folder)

    def fetch_one(**options):
        return str(folder / options["filename"])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bodvcl.hub.snapshot_download", fetch)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", fetch_one)
    model = VideoEncoderModel.from_pretrained("me/encoder", revision="v1")
    assert same_weights(model, bodvcl.load_encoder(finished_run))
    assert asked == [("me/encoder", "v1", FILES)]


def test_a_damaged_folder_is_named(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    config = json.loads((broken / "config.json").read_text())

    def refused(match, **changed):
        (broken / "config.json").write_text(json.dumps(config | changed))
        for load in (VideoEncoderModel.from_pretrained, bodvcl.load_encoder):
            with pytest.raises(CheckpointError, match=match):
                load(broken)

    refused("is of format 2, written by bodvcl 9.9; bodvcl .* reads format 1", format=2, version="9.9")
    refused("embed_dim", model=config["model"] | {"embed_dim": "wide"})
    refused("does not fit the encoder", model=config["model"] | {"embed_dim": 64})
    refused("was not written by bodvcl export", step=None)
    (broken / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json was not written by bodvcl export"):
        bodvcl.load_encoder(broken)
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"not a readable \.safetensors file"):
        bodvcl.load_encoder(broken)


def test_weights_alone_load_by_their_metadata(folder, finished_run, tmp_path):
    from safetensors.torch import save_file

    encoder = bodvcl.load_encoder(folder / "model.safetensors")
    assert same_weights(encoder, bodvcl.load_encoder(finished_run))
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="holds no encoder of bodvcl"):
        bodvcl.load_encoder(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"no file .*none\.safetensors"):
        bodvcl.load_encoder(tmp_path / "none.safetensors")


def test_an_option_that_nobody_takes_is_refused(folder):
    assert huggingface_hub.PyTorchModelHubMixin in VideoEncoderModel.__mro__
    with pytest.raises(TypeError, match="unknown options torch_dtype"):
        VideoEncoderModel.from_pretrained(folder, torch_dtype="float16")
