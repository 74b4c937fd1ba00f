"""A step with clips in half precision has the bits of one with float32 clips, where every pass is narrow."""

from __future__ import annotations

import pytest
import torch

from bodvcl.bilevel.solvers import make_solver
from bodvcl.cli.train import main
from bodvcl.config.passes import bilevel_of
from bodvcl.config.schema import (
    BilevelConfig,
    ClipConfig,
    MocoConfig,
    ModelConfig,
    SwavConfig,
    TrainConfig,
)
from bodvcl.engine import machinery
from bodvcl.engine.assemble import build_learner, loss_options
from bodvcl.engine.precision import Arithmetic, clip_dtype
from bodvcl.engine.problem import BatchProblem
from bodvcl.models.backbones.build import BACKBONES
from bodvcl.models.backbones.temporal import repeat_outer_frames
from bodvcl.models.backbones.vit import TubeletViT

VIDEOS = 3
BF16 = Arithmetic("bf16", torch.bfloat16)
METHODS = ("simclr", "moco", "byol", "swav", "dualvar", "hdc")
LAYOUT = torch.channels_last_3d


def small_vit(width):
    return TubeletViT(24, depth=4, heads=2, size=32)


def make_config(method, bilevel=None, lower="fp32", backbone="tiny"):
    views = 3 if method in ("dualvar", "hdc") else 2
    return TrainConfig(
        method=method,
        decouple="bod" if bilevel else "none",
        bilevel=bilevel or BilevelConfig(),
        lower_precision=lower,
        clip=ClipConfig(size=32, views=views, twin=views == 3),
        model=ModelConfig(backbone, width=4, embed_dim=12, hidden_dim=16),
        moco=MocoConfig(queue=24),
        swav=SwavConfig(prototypes=7, freeze=0),
    )


def assert_the_same_bits(config, lower):
    """Loss, gradient, keys and statistics of a step, with clips as wide as `clip_dtype` says and float32."""
    shape = (VIDEOS * config.clip.views, 3, 8, config.clip.size, config.clip.size)
    clips = torch.randn(shape, generator=torch.Generator().manual_seed(2)).contiguous(memory_format=LAYOUT)
    videos = torch.arange(VIDEOS).repeat_interleave(config.clip.views)
    found = []
    dtype = clip_dtype(bilevel_of(config), BF16, lower, fast=True)
    assert dtype == torch.bfloat16
    for width in (torch.float32, dtype):
        learner = build_learner(config).to(memory_format=LAYOUT).train()
        if config.method == "moco":
            queue = learner.objective.queue
            g = torch.Generator().manual_seed(3)
            queue.enqueue(torch.randn(*queue.keys.shape, generator=g), torch.tensor(True))
        torch.manual_seed(4)
        problem = BatchProblem(
            learner,
            clips.to(width),
            videos,
            loss_options(config),
            BF16.autocast,
            lower_autocast=lower.autocast,
        )
        step = make_solver(bilevel_of(config))(learner.trainable(), problem)
        tensors = {"upper": step.upper, **step.gradient, **learner.state_dict()}
        if step.lower is not None:
            tensors["lower"] = step.lower
        found.append(tensors | {f"key of {name}": key for name, key in problem.keys.items()})
    whole, narrow = found
    assert whole.keys() == narrow.keys()
    for name, t in whole.items():
        assert torch.isfinite(t).all(), name
        assert torch.equal(narrow[name], t), name


@pytest.mark.parametrize("method", METHODS)
def test_every_method_alone(method):
    assert_the_same_bits(make_config(method), BF16)


@pytest.mark.parametrize("method", ["simclr", "moco"])
@pytest.mark.parametrize(
    ("solver", "scope", "lower"),
    [
        ("fd", "head", "fp32"),
        ("itd", "head", "fp32"),
        ("single", "all", "fp32"),
        ("first_order", "all", "upper"),
    ],
)
def test_solvers(method, solver, scope, lower):
    config = make_config(method, BilevelConfig(solver, scope=scope, gamma=0.01), lower)
    assert_the_same_bits(config, BF16 if lower == "upper" else Arithmetic("fp32"))


def test_the_strict_lower_level():
    config = make_config("simclr", BilevelConfig("first_order", scope="all", gamma=0.01), "upper")
    config.prediction.strict = True
    assert_the_same_bits(config, BF16)


@pytest.mark.parametrize("method", ["simclr", "byol", "hdc"])
@pytest.mark.parametrize("backbone", ["r3d_18_thin", "vit_b16"])
def test_other_backbones(method, backbone, monkeypatch):
    monkeypatch.setitem(BACKBONES, "vit_b16", small_vit)
    assert_the_same_bits(make_config(method, backbone=backbone), BF16)


@pytest.mark.parametrize("padding", ["zeros", "repeat"])
@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_casts_its_clips_first(name, padding):
    """What is not a convolution, or begins with a normalisation, would see more bits in float32 clips."""
    backbone = small_vit(0) if name == "vit_b16" else BACKBONES[name](4)
    if padding == "repeat":
        repeat_outer_frames(backbone)
    backbone.eval()
    clips = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        whole, narrow = (backbone.stages(clips.to(t)) for t in (torch.float32, torch.bfloat16))
    for a, b in zip(whole, narrow, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ("--precision bf16", torch.bfloat16),
        ("--precision fp16 --decouple none", torch.float16),
        ("--precision bf16 --bilevel.scope all", torch.float32),
        ("--precision bf16 --no-fast", torch.float32),
        ("--precision fp32", torch.float32),
    ],
)
def test_a_training_hands_the_encoder_such_clips(tiny, tmp_path, monkeypatch, options, want):
    seen = set()

    class Watched(BatchProblem):
        def __init__(self, learner, clips, *rest, **options):
            seen.add(clips.dtype)
            super().__init__(learner, clips, *rest, **options)

    monkeypatch.setattr(machinery, "BatchProblem", Watched)
    quiet = ["--log.no-probe", "--log.no-report", "--max-steps", "1", "--run-dir", str(tmp_path / "r")]
    assert main([*tiny, *options.split(), *quiet]) == 0
    assert seen == {want}
