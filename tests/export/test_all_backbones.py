"""Every kind of backbone in every format that holds a computation, at a small size."""

from __future__ import annotations

import pytest
import torch

from bodvcl.config.backbones import GEOMETRY
from bodvcl.config.schema import KoopmanConfig, ModelConfig
from bodvcl.export.facts import ClipFormat, EncoderFacts
from bodvcl.export.graph import EncoderGraph, eager_outputs, random_clips
from bodvcl.export.write import PROGRAMS, TOLERANCE, largest_error
from bodvcl.models.backbones.vit import TubeletViT
from bodvcl.models.encoder import VideoEncoder, build_encoder
from bodvcl.models.projector import FrameMLP

KIND = {
    "r3d_18": "r2plus1d_18_thin",
    "r3d_18_thin": "r2plus1d_18_thin",
    "r2plus1d_18": "r2plus1d_18_thin",
    "s3d": "s3d_g",
}
"""Backbones whose layers are those of another, in other numbers."""


def small(backbone: str) -> VideoEncoder:
    if backbone == "vit_b16":
        return VideoEncoder(TubeletViT(dim=48, depth=4, heads=4, size=32), FrameMLP(48, 16, 12, 2, norm=True))
    return build_encoder(ModelConfig(backbone=backbone, width=4, embed_dim=12, hidden_dim=16))


CASES = [
    *((name, "torchscript") for name in sorted({KIND.get(name, name) for name in GEOMETRY} - {"tiny"})),
    ("vit_b16", "torch.export"),
]
"""The tiny backbone and the streams are in the other tests. The export to ONNX begins with torch.export."""
ONNX = [pytest.param(name, "onnx", marks=pytest.mark.slow) for name, to in CASES if to == "torchscript"]


@pytest.mark.parametrize(("backbone", "to"), [*CASES, *ONNX])
def test_it_computes_what_the_encoder_computes(backbone, to, tmp_path):
    encoder = small(backbone).eval()
    clip = ClipFormat(frames=8, stride=2, fps=None, size=32, mean=0.45, std=0.225)
    facts = EncoderFacts(
        "0", 1, "simclr", "bod", ModelConfig(backbone=backbone), clip, KoopmanConfig(mask="hard")
    )
    (tmp_path / "file").write_bytes(PROGRAMS[to].make(EncoderGraph(encoder, facts.koopman).eval(), facts))
    clips = random_clips(clip, 3)
    with torch.no_grad():
        expected = eager_outputs(encoder, facts.koopman, clips)
    found = PROGRAMS[to].run(tmp_path / "file", clips)
    assert found.keys() == {"features", "pooled", "embeddings"}
    assert largest_error(found, expected) < TOLERANCE
    others = {name: value.roll(1, 0) for name, value in expected.items()}
    assert largest_error(found, others) > 10 * TOLERANCE, "clips that are alike would show nothing"
