"""How many operations the losses send to a device: each is a launch, which often takes longer than its work.

Counted on the CPU, with the native operators. Views and allocations launch nothing. What one operation of
PyTorch launches inside of itself is not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bodvcl.config.schema import KoopmanConfig, PredictionConfig
from bodvcl.losses import DecoupledInfoNCE
from bodvcl.models.streams import koopman_streams
from bodvcl.objectives.base import ObjectiveInput
from bodvcl.objectives.simclr import SimCLR
from bodvcl.ops import native
from bodvcl.ops.contrastive import info_nce
from bodvcl.ops.koopman import koopman_prediction_loss, koopman_split, koopman_split_and_loss

pytestmark = pytest.mark.skipif(not native.cpu_available(), reason=native.why_not("cpu") or "native CPU")

FREE = frozenset(
    "_reshape_alias _unsafe_view alias as_strided detach empty empty_like empty_strided expand new_empty "
    "promote_types reshape select slice split squeeze t transpose unbind unsqueeze view".split()
)
WAITS = frozenset("_local_scalar_dense equal nonzero is_nonzero masked_select unique_dim".split())
"""Operations whose result, or its size, the host has to know."""
VIDEOS = torch.arange(4).repeat_interleave(2)
CLIPS = torch.arange(8)
VALID = torch.ones(2, 8, dtype=torch.bool)


class Launches(TorchDispatchMode):
    """Counts the operations within the block that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        self.names.update([name] * (name not in FREE))
        return func(*args, **(kwargs or {}))


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


def split(x: Tensor) -> list[Tensor]:
    found = koopman_split(x, max_gain=1.0)
    return [found.static, found.dynamic]


def losses(x: Tensor) -> list[Tensor]:
    return [koopman_prediction_loss(x)]


def split_and_losses(x: Tensor) -> list[Tensor]:
    found, parts = koopman_split_and_loss(x, max_gain=1.0)
    return [found.static, found.dynamic, parts.pred]


def contrast(x: Tensor) -> list[Tensor]:
    z = x[:2]
    loss = info_nce(
        z,
        z,
        query_video=VIDEOS,
        key_video=VIDEOS,
        query_clip=CLIPS,
        key_clip=CLIPS,
        valid=VALID,
        check_finite=False,
    )
    return [loss]


def losses_of_a_training_step(x: Tensor) -> list[Tensor]:
    streams = koopman_streams(x, KoopmanConfig(), PredictionConfig())
    assert streams.lower is not None
    return [streams.lower, *SimCLR()(ObjectiveInput(streams.embeddings, VIDEOS, 2)).values()]


DECOUPLED, OF_THE_PAPER = DecoupledInfoNCE(), DecoupledInfoNCE(dynamic="mean")


def decoupled(x: Tensor) -> list[Tensor]:
    return list(DECOUPLED(x, VIDEOS).values())


def decoupled_mean(x: Tensor) -> list[Tensor]:
    return list(OF_THE_PAPER(x, VIDEOS).values())


@pytest.mark.parametrize(
    ("compute", "forward", "backward"),
    [
        (split, 1, 5),
        (losses, 5, 3),
        (split_and_losses, 5, 5),
        (contrast, 48, 62),
        (losses_of_a_training_step, 68, 84),
        (decoupled_mean, 75, 84),
        (decoupled, 84, 99),  # standardised over the batch, beside the mean of the frames
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_loss_is_few_launches(compute: Callable[[Tensor], list[Tensor]], forward: int, backward: int):
    x = random(8, 8, 128)
    cotangents = [torch.ones_like(out) for out in compute(x)]
    torch.autograd.backward(compute(x), cotangents)  # constants are made at the first call
    x.grad = None
    with Launches() as there:
        outputs = compute(x)
    with Launches() as back:
        torch.autograd.backward(outputs, cotangents)
    assert not WAITS & (there.names.keys() | back.names.keys()), "the host would wait for a GPU"
    assert sum(there.names.values()) <= forward, there.names
    assert sum(back.names.values()) <= backward, back.names


def test_unread_diagnostics_are_not_computed():
    x = random(8, 8, 128)
    with Launches() as alone:
        found = koopman_split(x)
    with Launches() as read:
        facts = found.dynamic_modes, found.nonfinite
    assert not {"gt", "sub"} & alone.names.keys()
    assert {"gt", "sub"} <= read.names.keys()
    assert torch.equal(facts[0], found.rank - found.static_modes)
