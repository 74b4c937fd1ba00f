"""What the training loop needs to know of a task: its network, its batches, its loss and its validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn


class ParameterGroup(NamedTuple):
    """Parameters that are trained with one learning rate.

    Attributes:
        scale: factor of the learning rate.
        parameters: the parameters, at least one.
    """

    scale: float
    parameters: Sequence[nn.Parameter]


class Task(Protocol):
    """A network that is trained with labels. :class:`~bodvcl.finetune.loop.TuningLoop` trains it.

    Random draws in :meth:`loss` come from PyTorch's global generators: the loop seeds them before every step
    from seed, rank and step, so that a resumed training draws the same.

    Attributes:
        model: the network. Its ``train()`` decides which modules stay in evaluation mode.
        steps_per_epoch: steps of an epoch.
    """

    model: nn.Module
    steps_per_epoch: int

    def groups(self) -> Sequence[ParameterGroup]:
        """The parameters to train, each in one group; all others are left as they are."""
        ...

    def batches(self, epoch: int, start_step: int) -> Iterator[Any]:
        """This rank's share of the batches of an epoch, in order.

        Args:
            epoch: number of the epoch, from 0.
            start_step: number of its first batch that is wanted, from 0.
        """
        ...

    def loss(self, batch: Any) -> Tensor:
        """The mean loss of this rank's share of a batch, a scalar; called under the loop's autocast.

        Every rank's share has the same weight.
        """
        ...

    def validate(self) -> Mapping[str, float]:
        """Metrics by name, the same on every rank; all ranks call it together.

        The model is in evaluation mode, without gradients, under the loop's autocast. The first metric
        decides which epoch is the best: larger is better. Empty: there is nothing to validate on.
        """
        ...

    def close(self) -> None:
        """End processes and files that the batches use."""
        ...
