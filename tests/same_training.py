"""How far two trainings are apart: what two ways of summing may differ by, and a wrong term may not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bodvcl.config.parse import load_yaml
from bodvcl.engine.checkpoint import LAST
from bodvcl.engine.learner import untrained_encoder
from bodvcl.engine.metrics import METRICS

SMOOTH = [
    "--precision", "fp32", "--bilevel.solver", "first_order", "--bilevel.scope", "all",
    "--bilevel.gamma", "0.001",
    "--optim.name", "sgd", "--optim.lr", "0.002",
    "--koopman.max-gain", "None", "--model.projector-norm", "--log.no-probe", "--log.no-report",
    "--augment.mix", "0",
]  # fmt: skip
"""No amplified rounding: what two ways of summing give can be compared.

On these videos they stay within 1e-4. A rounding that sends an activation over a ReLU's kink can make it 5%,
with other videos or another seed: the videos are the same files on every machine for this reason too.
"""


def assert_same_movement(
    got: Mapping[str, Tensor],
    want: Mapping[str, Tensor],
    start: Mapping[str, Tensor],
    tolerance: float = 0.05,
) -> None:
    """Parameters, and running statistics, ended where they should, to ``tolerance`` of how far they moved.

    By norm over all of them: a rounding that sends one activation to the other side of a ReLU's kink changes
    single weights by some per cent of their movement, and the whole by far less than a wrong term would.
    """
    assert got.keys() == want.keys()
    kinds: dict[str, list[str]] = {"parameters": [], "statistics": []}
    for name, value in want.items():
        if value.is_floating_point():
            kinds["statistics" if ".running_" in name else "parameters"].append(name)
        else:
            assert torch.equal(got[name], value), name
    for kind, names in kinds.items():
        if not names:
            continue
        end, should, began = (torch.cat([t[n].double().flatten() for n in names]) for t in (got, want, start))
        apart, moved = (end - should).norm().item(), (should - began).norm().item()
        assert moved > 0, kind
        assert apart <= tolerance * moved, f"{kind}: {apart:.2e} apart after moving {moved:.2e}"


def metrics(run: Path) -> list[dict[str, Any]]:
    """What a run has logged, step by step."""
    return [json.loads(line) for line in (run / METRICS).read_text().splitlines()]


def assert_same_training(run: Path, reference: Path, steps: int) -> None:
    """Two runs logged the same and moved to the same weights, as far as they can be compared."""
    for got, want in zip(metrics(run), metrics(reference), strict=True):
        for name in ("loss", "loss_static", "loss_dynamic", "loss_pred", "static_modes", "grad_norm"):
            assert got[name] == pytest.approx(want[name], rel=2e-2, abs=1e-5), (got["step"], name)
    config = load_yaml(reference / "config.yaml")
    start = untrained_encoder(config.model, config.seed).state_dict()
    saved = [torch.load(r / LAST, weights_only=True) for r in (run, reference)]
    assert [s["step"] for s in saved] == [steps, steps]
    got, want = (s["learner"] for s in saved)
    assert_same_movement(got, want, {f"encoder.{name}": t for name, t in start.items()})
