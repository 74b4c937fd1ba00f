"""Values of a step that the host reads one step late, so that the device never waits for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from bodvcl.models.stream_health import stream_health
from bodvcl.models.streams import SplitOutput


class LateValues:
    """Scalars of a step and, where asked for, the health of its streams.

    They are on their way to the host from the start. Health is computed by the host: its eigenvalues and
    singular values would make the device wait.

    Args:
        values: scalars by name, all on one device.
        streams: for each part of the batch its share, and the streams to describe.
        views: clips per video.
    """

    def __init__(
        self, values: Mapping[str, Tensor], streams: Iterable[tuple[float, SplitOutput]], views: int
    ) -> None:
        self._names, self._views = tuple(values), views
        together = torch.stack([v.detach().double() for v in values.values()])
        self._values = _on_its_way(together)
        self._streams = [(share, part.mapped(_on_its_way)) for share, part in streams]
        self._arrived: torch.cuda.Event | None = None
        if together.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def arrived(self) -> bool:
        """Whether :meth:`read` would return at once: the device has finished the step."""
        return self._arrived is None or self._arrived.query()

    def read(self) -> dict[str, float]:
        """All values by name. Waits until the device has finished the step, not for what it does next."""
        if self._arrived is not None:
            self._arrived.synchronize()
        values = dict(zip(self._names, self._values.tolist()))
        for share, streams in self._streams:
            for name, value in stream_health(streams, self._views).items():
                values[name] = values.get(name, 0.0) + share * value.item()
        return values


def any_not_finite(values: Sequence[Tensor]) -> Tensor:
    """Bool scalar on the device of the scalars: whether one of them is NaN or infinite."""
    return ~torch.isfinite(torch.stack([v.detach().double() for v in values])).all()


def _on_its_way(x: Tensor) -> Tensor:
    """A copy on the host; from a GPU into pinned memory, and complete only later."""
    return x.detach().to("cpu", non_blocking=True, copy=True)
