"""Options of the optimiser that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

from bodvcl.config.schema import OptimConfig


def optim_contradictions(config: OptimConfig) -> Iterator[str]:
    """What a configuration asks for and cannot have."""
    if config.fused == "apex":
        if config.name != "lamb":
            yield (
                f"optim.fused apex: of the optimisers only lamb has a kernel in apex that PyTorch lacks; "
                f"use --optim.fused auto with {config.name}"
            )
        elif config.weight_decay == 0:
            yield "optim.fused apex: apex adapts no group without weight decay; set --optim.weight-decay"
