"""Operations, memory and peak, counted on shapes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from bodvcl.config.schema import BilevelConfig, ClipConfig, ModelConfig, TrainConfig
from bodvcl.engine.flops import forward_flops, peak_flops, peak_of, step_flops
from bodvcl.engine.memory import estimate_memory, saved_bytes
from bodvcl.models.encoder import build_encoder

MODEL = ModelConfig(width=4, embed_dim=12, hidden_dim=16)
CLIP = ClipConfig(frames=6, size=32)


def test_operations_of_the_tiny_backbone_are_those_of_its_convolutions():
    widths, side, frames = [4, 8, 16, 16], [16, 8, 4, 2], CLIP.frames
    kernels = [25, 27, 27, 27]
    macs = sum(
        out * into * kernel * frames * s * s
        for into, out, kernel, s in zip([3, *widths], widths, kernels, side)
    )
    macs += frames * (16 * 16 + 16 * 12)
    assert forward_flops(MODEL, CLIP) == 2 * macs
    assert step_flops(100, (3, 3)) == 900


@pytest.mark.parametrize(
    ("device", "arithmetic", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989e12),
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA A100-SXM4-80GB", "tf32", 156e12),
        ("Tesla V100-SXM2-16GB", "fp16", 125e12),
        ("NVIDIA L40S", "fp32", 91.6e12),
        ("NVIDIA A1000 Laptop GPU", "bf16", None),
    ],
)
def test_the_peak_is_the_data_sheet_s_or_unknown(device, arithmetic, peak):
    assert peak_flops(device, arithmetic) == peak


def test_a_cpu_has_no_peak():
    assert peak_of(torch.device("cpu"), "fp32") is None


def test_what_is_saved_for_the_backward_pass_is_counted_as_it_is():
    encoder = build_encoder(MODEL).train()
    own = {t.untyped_storage().data_ptr() for t in encoder.state_dict(keep_vars=True).values()}
    saved = {}

    def note(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        encoder(torch.randn(4, 3, 6, 32, 32))
    with torch.device("meta"):
        shadow = build_encoder(MODEL).train()
    counted = saved_bytes(shadow, (4, 3, 6, 32, 32), torch.float32)
    assert counted == sum(t.untyped_storage().nbytes() for t in saved.values())


def test_the_estimate_follows_batch_optimiser_and_parts():
    config = TrainConfig(model=MODEL, clip=CLIP, batch_size=16, decouple="none")
    parameters = 4 * sum(p.numel() for p in build_encoder(MODEL).parameters())
    whole = estimate_memory(config, None)
    assert whole.gradients == parameters
    assert whole.optimizer == 2 * parameters
    assert whole.clips == 4 * 16 * 2 * 3 * 6 * 32 * 32
    parts = estimate_memory(dataclasses.replace(config, accumulate=4), None)
    shared = estimate_memory(config, None, world_size=4)
    assert parts.activations == shared.activations
    assert parts.activations == pytest.approx(whole.activations / 4, rel=0.01)
    half = estimate_memory(config, torch.bfloat16)
    assert half.activations == pytest.approx(whole.activations / 2, rel=0.1)
    assert "activations" in str(whole)


def test_further_inner_steps_take_what_their_solver_keeps():
    def estimate(solver, steps, scope="all"):
        bilevel = BilevelConfig(solver=solver, scope=scope, inner_steps=steps)
        return estimate_memory(TrainConfig(model=MODEL, clip=CLIP, batch_size=4, bilevel=bilevel), None)

    parameters = estimate("fd", 1).gradients // 4
    assert estimate("fd", 3).gradients == 8 * parameters
    assert estimate("fd_central", 3).gradients == 6 * parameters
    assert estimate("first_order", 3).gradients == 4 * parameters
    assert estimate("itd", 3).activations == 3 * estimate("itd", 1).activations
    assert estimate("hvp", 3).activations == estimate("itd", 1).activations
    assert estimate("fd", 3, "head").gradients == parameters, "the backbone does not look ahead"
