"""An estimate of the memory that training takes on a device, before it starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bodvcl.config.passes import TWICE
from bodvcl.config.schema import BilevelConfig
from bodvcl.engine.learner import Learner
from bodvcl.errors import ConfigError
from bodvcl.system.memory import machine_memory

_STATE = {"sgd": 1, "lars": 1, "adamw": 2, "lamb": 2}
"""Tensors of the size of the parameters that each optimiser keeps."""
_KEPT = {"fd": 2, "fd_central": 1, "hvp": 1}
"""Tensors of the size of the parameters that a solver keeps for every inner step after the first."""
_ABSURD = 4
"""A run is refused above this many times the memory of the device: neither swap nor an error of the estimate
explains that."""
_TWICE = 3
"""Memory of a graph that is differentiated twice, relative to a graph that is not: 2.9 on a small network."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one device.

    Attributes:
        weights: parameters and buffers, with momentum encoder and queue.
        gradients: gradients of the parameters, with the copies that the look-ahead makes at each inner step.
        optimizer: state of the optimiser.
        activations: what the backbone and the projector save for the backward pass.
        clips: the augmented clips of one part of a batch.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    clips: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.clips

    def __str__(self) -> str:
        parts = (
            f"{name} {_human(getattr(self, name))}"
            for name in ("weights", "gradients", "optimizer", "activations", "clips")
        )
        return f"{_human(self.total)} ({', '.join(parts)})"


def estimate_memory(
    learner: Learner,
    shape: tuple[int, ...],
    *,
    optimizer: str,
    bilevel: BilevelConfig | None,
    upper: torch.dtype | None,
    lower: torch.dtype | None,
    clips: torch.dtype,
    cut_over: int = 1,
) -> MemoryEstimate:
    """Count what a step keeps, from shapes alone. It does not count the work space of convolutions, the
    losses, the decoder and fragmentation.

    Args:
        learner: learner on the meta device, in training mode.
        shape: ``(N, 3, L, H, W)``, the clips of one part of a batch that pass through the encoder together.
        optimizer: name of the optimiser.
        bilevel: options of the bi-level step; None: there is no lower level.
        upper: autocast dtype of the backbone in the upper level; None: float32.
        lower: the same for the lower level.
        cut_over: number of ranks that the weights of the backbone are cut over.
        clips: dtype of the clips.
    """
    backbone = learner.encoder.backbone
    spared = _bytes(backbone.parameters()) * (cut_over - 1) // cut_over
    gathered = 0
    if cut_over > 1:  # the largest block that is whole for a moment, and its gradient
        gathered = max(_bytes(piece.parameters()) for piece in backbone.pieces())
    trainable = _bytes(learner.trainable().values()) - spared
    weights = _bytes(learner.state_dict().values()) + gathered
    weights -= spared * (1 if learner.target is None else 2)
    copies, graphs, dtype = 1, 1, upper
    if bilevel is not None and bilevel.solver != "single" and bilevel.scope == "all":
        copies = 4 + (bilevel.inner_steps - 1) * _KEPT.get(bilevel.solver, 0)
        if bilevel.solver in TWICE:
            graphs = _TWICE * (bilevel.inner_steps if bilevel.solver == "itd" else 1)
        if lower is None:
            dtype = None
    return MemoryEstimate(
        weights=weights,
        gradients=trainable * copies + gathered,
        optimizer=trainable * _STATE[optimizer],
        activations=saved_bytes(learner.encoder, shape, dtype or torch.float32) * graphs,
        clips=clips.itemsize * torch.Size(shape).numel(),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def refuse_absurd(estimate: MemoryEstimate, device: torch.device) -> None:
    """Refuse a run that needs several times the memory of its device, before the system kills processes.

    Raises:
        ConfigError: the message says how much each part takes and how much memory the device has.
    """
    available = device_memory(device)
    if estimate.total > _ABSURD * available:
        raise ConfigError(
            f"a step would take {estimate}, and {device} has {_human(available)}: lower --batch-size, "
            "--clip.size, --clip.frames or the width of the model"
        )


def device_memory(device: torch.device) -> int:
    """Bytes of memory of a GPU, or of this machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return machine_memory()


def saved_bytes(module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Bytes that a module on the meta device saves for its backward pass, without its parameters.

    Args:
        module: module on the meta device.
        shape: shape of its input.
        dtype: dtype of its arithmetic.
    """
    module = module.to(dtype)
    own = {t.untyped_storage()._cdata for t in module.state_dict(keep_vars=True).values()}
    seen: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            seen[storage] = tensor  # keep the tensor alive, so that its address is not used again
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        module(torch.empty(shape, dtype=dtype, device="meta"))
    return sum(t.untyped_storage().nbytes() for t in seen.values())


def _human(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"
