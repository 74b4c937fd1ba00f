"""An estimate of the memory that training takes on a device, before it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bodvcl.config.passes import differentiates_twice
from bodvcl.config.schema import TrainConfig
from bodvcl.engine.learner import build_learner
from bodvcl.errors import ConfigError

_STATE = {"sgd": 1, "lars": 1, "adamw": 2, "lamb": 2}  # parameter-sized tensors that each optimiser keeps

_KEPT = {"fd": 2, "fd_central": 1, "hvp": 1}  # parameter-sized tensors for every further inner step

_ABSURD = 4  # times the memory there is: beyond what swap, or an error of the estimate, could account for

_TWICE = 3  # a graph that is differentiated twice holds the backward pass too: 2.9 times, on a small network


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one device.

    Attributes:
        weights: parameters and buffers, momentum copies and queues among them.
        gradients: of the parameters, with the copies that the look-ahead makes at each inner step.
        optimizer: state of the optimiser.
        activations: what the backbone and the projector save for one backward pass.
        clips: the augmented clips of one part of a batch.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    clips: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.clips

    def __str__(self) -> str:
        parts = (
            f"{name} {_human(getattr(self, name))}"
            for name in ("weights", "gradients", "optimizer", "activations", "clips")
        )
        return f"{_human(self.total)} ({', '.join(parts)})"


def estimate_memory(config: TrainConfig, autocast: torch.dtype | None, world_size: int = 1) -> MemoryEstimate:
    """Count what a step keeps, on shapes alone. The work space of convolutions, the losses, what the decoder
    takes and fragmentation come on top.

    Args:
        config: the run.
        autocast: dtype of the backbone in the upper level; None: float32.
        world_size: processes that share the batch.
    """
    config = replace(config, model=replace(config.model, weights=None))
    with torch.device("meta"):
        learner = build_learner(config).train()
    trainable = sum(p.numel() * p.element_size() for p in learner.trainable().values())
    weights = sum(t.numel() * t.element_size() for t in learner.state_dict().values())
    bilevel = config.bilevel
    lookahead = config.decouple != "none" and bilevel.solver != "single" and bilevel.scope == "all"
    twice = lookahead and differentiates_twice(config)
    views = config.clip.views + (config.method == "dualvar")  # its shuffled clips pass with the others
    clips = -(-config.batch_size // (world_size * config.accumulate)) * views
    shape = (clips, 3, config.clip.frames, config.clip.size, config.clip.size)
    wide = autocast is None or (lookahead and config.lower_precision != "upper")
    further = bilevel.inner_steps - 1
    graphs = _TWICE * (bilevel.inner_steps if bilevel.solver == "itd" else 1) if twice else 1
    return MemoryEstimate(
        weights=weights,
        gradients=trainable * (4 + further * _KEPT.get(bilevel.solver, 0) if lookahead else 1),
        optimizer=trainable * _STATE[config.optim.name],
        activations=saved_bytes(learner.encoder, shape, torch.float32 if wide else autocast) * graphs,
        clips=4 * torch.Size(shape).numel(),
    )


def refuse_absurd(estimate: MemoryEstimate, device: torch.device) -> None:
    """Refuse a run that needs several times the memory of its device, before the system ends it or others.

    Raises:
        ConfigError: says what takes how much, and what there is.
    """
    there = _memory_of(device)
    if estimate.total > _ABSURD * there:
        raise ConfigError(
            f"a step would take {estimate}, and {device} has {_human(there)}: lower --batch-size, "
            "--clip.size, --clip.frames or the width of the model"
        )


def _memory_of(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def saved_bytes(module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Bytes that a module on the meta device saves for its backward pass, its parameters left out.

    Args:
        module: on the meta device.
        shape: of its input.
        dtype: that it computes in.
    """
    module = module.to(dtype)
    own = {t.untyped_storage()._cdata for t in module.state_dict(keep_vars=True).values()}
    seen: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            seen[storage] = tensor  # keeps it alive: its address is not used twice
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        module(torch.empty(shape, dtype=dtype, device="meta"))
    return sum(t.untyped_storage().nbytes() for t in seen.values())


def _human(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"
