"""Weights as people have them: with prefixes, under keys, two networks in a file, heads, .safetensors."""

from __future__ import annotations

import argparse

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import video

from bodvcl.config.schema import ModelConfig
from bodvcl.errors import CheckpointError
from bodvcl.models.backbones.build import build_backbone
from bodvcl.models.backbones.checkpoint_file import read_tensors
from bodvcl.models.backbones.weight_names import our_weights
from bodvcl.models.backbones.weights import load_pretrained, weights_report


@pytest.fixture(scope="module")
def own():
    """Weights of an S3D on no device: names and shapes."""
    with torch.device("meta"):
        return build_backbone(ModelConfig(backbone="s3d")).state_dict()


@pytest.fixture(scope="module")
def weights(own):
    """Small numbers, each tensor with its own."""
    return {
        name: torch.full(value.shape, (number + 1) / 128).to(value.dtype)
        for number, (name, value) in enumerate(own.items())
    }


def behind(prefix, weights):
    return {f"{prefix}{name}": value for name, value in weights.items()}


def zeros(weights):
    return {name: torch.zeros_like(value) for name, value in weights.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "_orig_mod.",
        "model.",
        "encoder.",
        "backbone.",
        "base_encoder.",
        "online_network.",
        "student.",
        "encoder_q.",
        "module._orig_mod.encoder_q.",
        "model.online_network.encoder.",
        "anything.else.",
    ],
)
def test_any_wrapper_is_taken_off(own, weights, prefix):
    head = {f"{prefix}fc.weight": torch.zeros(400, 512), "criterion.queue": torch.zeros(2)}
    found = our_weights({**behind(prefix, weights), **(head if prefix else {})}, own)
    assert found.weights.keys() == weights.keys()
    assert all(found.weights[name] is weights[name] for name in weights)
    assert found.left_out == ([*head] if prefix else [])
    assert not found.remark


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("module.encoder_q.", "module.encoder_k."),
        ("online_network.", "target_network."),
        ("online_encoder.net.", "target_encoder.net."),
        ("teacher.backbone.", "student.backbone."),
        ("encoder.", "momentum_encoder."),
        ("backbone.", "backbone_hist."),
        ("", "model_ema."),
    ],
)
def test_of_two_networks_the_well_known_one_is_taken_and_named(own, weights, first, second):
    for order in (1, -1):
        both = [behind(first, weights), behind(second, zeros(weights))][::order]
        found = our_weights({**both[0], **both[1]}, own)
        assert all(found.weights[name] is weights[name] for name in weights)
        name = first.rstrip(".") or "the one without a prefix"
        assert found.remark == f"of its networks it takes {name}, not {second.rstrip('.')}"


def test_two_networks_that_nothing_tells_apart_are_refused(own, weights):
    both = behind("rgb.", weights) | behind("flow.", zeros(weights))
    with pytest.raises(
        CheckpointError, match=r"several networks in the file fit: rgb\., flow\.; save the one"
    ):
        our_weights(both, own)
    twice = behind("rgb.", weights) | behind("model.rgb.", weights)  # the same under two names
    assert not our_weights(twice, own).remark


def test_a_word_within_a_name_is_no_second_network(own, weights):
    assert our_weights(behind("semantic_history.", weights), own).weights.keys() == weights.keys()


def saved(tmp_path, state, name="file.pth"):
    """A file with this content, and the configuration of a network that is to start from it."""
    path = tmp_path / name
    if name.endswith(".safetensors"):
        save_file(state, path)
    else:
        torch.save(state, path)
    return path, ModelConfig(backbone="s3d", weights=str(path))


SMALL = {"conv.weight": torch.ones(2), "fc.weight": torch.zeros(2)}


@pytest.mark.parametrize(
    "state",
    [
        SMALL,
        {
            "epoch": 3,
            "arch": "resnet",
            "state_dict": SMALL,
            "optimizer": {"state": {0: {"m": torch.ones(1)}}},
        },
        {"model": SMALL, "args": argparse.Namespace(lr=0.1)},
        {"model_state_dict": SMALL, "step": torch.tensor(3)},
        {"model": {"state_dict": SMALL}},
        {"model": {"backbone": "a configuration"}, "encoder": SMALL},
        {"pytorch-lightning_version": "2.5.0", "state_dict": SMALL, "optimizer_states": [{"state": {}}]},
    ],
    ids=["bare", "moco", "namespace", "step", "nested", "configuration", "lightning"],
)
def test_files_of_training_programs(tmp_path, state):
    found = read_tensors(saved(tmp_path, state)[0])
    assert found.weights.keys() == SMALL.keys()
    assert not found.remark
    assert not found.ours


def test_a_file_of_moco_is_loaded(tmp_path, weights):
    queries = behind("module.encoder_q.", weights) | {"module.encoder_q.fc.0.weight": torch.zeros(2, 2)}
    state = queries | behind("module.encoder_k.", zeros(weights)) | {"module.queue": torch.zeros(2, 8)}
    path, config = saved(tmp_path, {"epoch": 3, "state_dict": state, "optimizer": {}})
    backbone = build_backbone(config)
    lines = load_pretrained(backbone, path)
    assert all(torch.equal(value, weights[name]) for name, value in backbone.state_dict().items())
    assert lines[:2] == [
        f"backbone s3d starts from {path}",
        "  of its networks it takes module.encoder_q, not module.encoder_k",
    ]
    assert lines[2].startswith(
        "  not of the backbone, left out: module.encoder_q.fc.0.weight, module.encoder_k."
    )
    assert lines == weights_report(config)


def test_safetensors(tmp_path, weights):
    path, config = saved(tmp_path, behind("encoder.", weights), "model.safetensors")
    backbone = build_backbone(config)
    load_pretrained(backbone, path)
    assert all(torch.equal(value, weights[name]) for name, value in backbone.state_dict().items())
    path.write_bytes(b"no header")
    with pytest.raises(CheckpointError, match=r"not a readable \.safetensors file"):
        load_pretrained(backbone, path)
    with pytest.raises(CheckpointError, match=r"cannot read weights .*none\.safetensors"):
        load_pretrained(backbone, tmp_path / "none.safetensors")


def test_dino_s_teacher_is_taken_and_named(tmp_path, weights):
    path, config = saved(
        tmp_path,
        {"student": behind("module.backbone.", zeros(weights)), "teacher": behind("backbone.", weights)},
    )
    backbone = build_backbone(config)
    lines = load_pretrained(backbone, path)
    assert all(torch.equal(value, weights[name]) for name, value in backbone.state_dict().items())
    assert "  of what the file holds it takes teacher, not student" in lines


def test_heads_are_named_in_one_line(tmp_path):
    with torch.device("meta"):
        names = video.s3d().state_dict()
    state = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in names.items()}
    lines = weights_report(saved(tmp_path, state)[1])
    assert lines[1] == "  not of the backbone, left out: classifier.1.weight, classifier.1.bias (2 names)"


def test_weights_of_this_project_are_not_said_to_have_had_strides(tmp_path, weights):
    path, config = saved(
        tmp_path, {"format": 1, "version": "0.1.0", "model": {}, "encoder": behind("backbone.", weights)}
    )
    assert weights_report(config) == [f"backbone s3d starts from {path}"]


def test_nothing_that_fits_lists_what_was_found_and_expected(tmp_path):
    state = {f"module.trunk.{k}.weight": torch.zeros(1) for k in range(9)}
    path, config = saved(tmp_path, state)
    with pytest.raises(CheckpointError) as caught:
        weights_report(config)
    message = str(caught.value)
    assert f"{path} does not hold the weights of s3d" in message
    assert "missing (features.0.0.0.weight, features.0.0.1.weight, features.0.0.1.bias, ...)" in message
    assert (
        "9 unexpected (module.trunk.0.weight, module.trunk.1.weight, module.trunk.2.weight, ...)" in message
    )


def test_a_part_that_is_missing_is_found_behind_the_prefix(tmp_path, weights):
    cut = {name: value for name, value in weights.items() if not name.startswith("features.15.")}
    _, config = saved(tmp_path, behind("module.encoder_q.", cut))
    with pytest.raises(CheckpointError, match=r"40 missing \(features\.15\.branch0") as caught:
        weights_report(config)
    assert "unexpected" not in str(caught.value)


def test_a_file_without_weights_names_its_keys(tmp_path):
    _, config = saved(tmp_path, {"epoch": 3, "config": {"lr": 0.1}})
    with pytest.raises(CheckpointError, match=r"holds no weights.*; found epoch, config"):
        weights_report(config)
