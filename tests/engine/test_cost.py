"""Operations, memory and peak, counted on shapes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from bodvcl.config.passes import Passes
from bodvcl.config.schema import BilevelConfig, ClipConfig, ModelConfig, TrainConfig
from bodvcl.engine.assemble import build_learner, step_memory
from bodvcl.engine.flops import forward_flops, peak_flops, peak_of, step_flops
from bodvcl.engine.memory import estimate_memory, saved_bytes
from bodvcl.engine.precision import Arithmetic
from bodvcl.models.encoder import build_encoder

MODEL = ModelConfig(width=4, embed_dim=12, hidden_dim=16)
CLIP = ClipConfig(frames=6, size=32)
FP32 = Arithmetic("fp32")


def test_operations_of_the_tiny_backbone_are_those_of_its_convolutions():
    widths, side, frames = [4, 8, 16, 16], [16, 8, 4, 2], CLIP.frames
    kernels = [25, 27, 27, 27]
    macs = sum(
        out * into * kernel * frames * s * s
        for into, out, kernel, s in zip([3, *widths], widths, kernels, side)
    )
    macs += frames * (16 * 16 + 16 * 12)
    assert forward_flops(MODEL, CLIP) == 2 * macs
    assert step_flops(100, Passes(3, 3)) == 900


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


def estimate(clips=32, bilevel=None, upper=None, lower=None, optimizer="adamw", dtype=torch.float32):
    with torch.device("meta"):
        learner = build_learner(TrainConfig(model=MODEL, clip=CLIP)).train()
    shape = (clips, 3, CLIP.frames, CLIP.size, CLIP.size)
    return estimate_memory(
        learner, shape, optimizer=optimizer, bilevel=bilevel, upper=upper, lower=lower, clips=dtype
    )


def test_the_estimate_follows_clips_optimiser_and_arithmetic():
    parameters = 4 * sum(p.numel() for p in build_encoder(MODEL).parameters())
    whole = estimate()
    assert whole.gradients == parameters
    assert whole.optimizer == 2 * parameters
    assert estimate(optimizer="sgd").optimizer == parameters
    assert whole.clips == 4 * 32 * 3 * 6 * 32 * 32
    assert estimate(8).activations == pytest.approx(whole.activations / 4, rel=0.01)
    half = estimate(upper=torch.bfloat16)
    assert half.activations == pytest.approx(whole.activations / 2, rel=0.1)
    assert "activations" in str(whole)
    assert estimate(dtype=torch.bfloat16).clips == whole.clips / 2


def test_a_lower_level_in_float32_decides_what_is_saved():
    whole, bilevel, narrow = estimate(), BilevelConfig(solver="fd", scope="all"), torch.bfloat16
    assert estimate(bilevel=bilevel, upper=narrow).activations == whole.activations
    assert estimate(bilevel=bilevel, upper=narrow, lower=narrow).activations < whole.activations
    head = BilevelConfig(solver="fd", scope="head")
    assert estimate(bilevel=head, upper=narrow).activations < whole.activations


@pytest.mark.parametrize(
    ("options", "clips"),
    [({}, 32), ({"accumulate": 4}, 8), ({"method": "dualvar", "decouple": "none"}, 48)],
)
def test_a_run_counts_the_clips_that_pass_together(options, clips):
    config = TrainConfig(model=MODEL, clip=CLIP, batch_size=16, **options)
    alone, shared = (step_memory(config, FP32, FP32, world_size) for world_size in (1, 4))
    assert alone.clips == 4 * clips * 3 * 6 * 32 * 32
    assert shared.clips == alone.clips // 4
    narrow = step_memory(config, Arithmetic("bf16", torch.bfloat16), FP32)
    assert narrow.clips == alone.clips // 2


def test_further_inner_steps_take_what_their_solver_keeps():
    def with_solver(solver, steps, scope="all"):
        return estimate(8, BilevelConfig(solver=solver, scope=scope, inner_steps=steps))

    parameters = with_solver("fd", 1).gradients // 4
    assert with_solver("fd", 3).gradients == 8 * parameters
    assert with_solver("fd_central", 3).gradients == 6 * parameters
    assert with_solver("first_order", 3).gradients == 4 * parameters
    assert with_solver("itd", 3).activations == 3 * with_solver("itd", 1).activations
    assert with_solver("hvp", 3).activations == with_solver("itd", 1).activations
    assert with_solver("fd", 3, "head").gradients == parameters, "the backbone does not look ahead"


def test_weights_that_are_cut_are_counted_in_parts():
    vit = ModelConfig(backbone="vit_b16")
    config = TrainConfig(model=vit, clip=CLIP, method="byol")
    whole, cut = (
        step_memory(dataclasses.replace(config, shard=shard), FP32, FP32, 8) for shard in (False, True)
    )
    backbone = 4 * sum(p.numel() for p in build_encoder(vit).backbone.parameters())
    block = backbone // 12
    for name, copies in (("weights", 2), ("gradients", 1), ("optimizer", 2)):
        saved = getattr(whole, name) - getattr(cut, name)
        assert saved == pytest.approx(backbone * 7 / 8 * copies, abs=block), name
    assert (cut.activations, cut.clips) == (whole.activations, whole.clips)
