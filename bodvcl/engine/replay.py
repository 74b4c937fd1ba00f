"""Several passes of a learner over one batch, all with the same buffers and the same random draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.func import functional_call

from bodvcl.bilevel.problem import Params
from bodvcl.engine.learner import Learner
from bodvcl.models.strict import central_slice

Result = TypeVar("Result")


class Replay:
    """Runs parts of a learner with given parameters, any number of times.

    The first pass of a module updates its buffers (BatchNorm statistics). Later passes work on copies, so
    that the buffers advance once per batch. Every pass starts from the same random state.

    Args:
        learner: the modules; the parameters given to a pass replace its own.
        device: device of the clips, whose random state is kept.
    """

    def __init__(self, learner: Learner, device: torch.device) -> None:
        self._learner = learner
        self._advanced: set[str] = set()
        self._buffers_before = _copies(learner.pass_buffers())
        self._random = _random_state(device)

    def run(
        self,
        params: Params,
        parts: tuple[str, ...],
        compute: Callable[[Learner], Result],
        *,
        advance: bool = True,
    ) -> Result:
        """``compute(learner)`` with other parameters.

        Args:
            params: parameters of the learner, by name.
            parts: names of the modules that ``compute`` passes through.
            compute: the pass.
            advance: let buffers advance that have not advanced yet; False: leave all buffers as they are.
        """
        prefixes = tuple(f"{part}." for part in parts)
        touched = {n: b for n, b in self._learner.pass_buffers().items() if n.startswith(prefixes)}
        copies = _copies({n: b for n, b in touched.items() if not advance or n in self._advanced})
        if advance:
            self._advanced |= touched.keys()
        with self.random_draws():
            result: Result = functional_call(self._learner, {**params, **copies}, (compute,))
        return result

    def run_strict(self, params: Params, clips: Tensor) -> Tensor:
        """Per-frame embeddings ``(N, T, M)`` of the strict twin of the encoder; no buffer changes.

        Args:
            params: parameters of the learner, by name.
            clips: ``(N, 3, L, H, W)``.
        """
        prefix = "encoder."
        encoder, twin = self._learner.encoder, self._learner.strict_encoder()
        own = {n.removeprefix(prefix): p for n, p in params.items() if n.startswith(prefix)}
        buffers = _copies(dict(encoder.named_buffers()))
        with self.random_draws():
            embeddings: Tensor = functional_call(twin, central_slice(own, encoder) | buffers, (clips,))
        return embeddings

    @contextmanager
    def random_draws(self) -> Iterator[None]:
        """While entered, PyTorch's generators draw what the first pass drew."""
        self._restart_draws()
        yield

    def undo(self) -> None:
        """Restore the learner's buffers and PyTorch's generators to their states before the first pass."""
        for name, buffer in self._learner.pass_buffers().items():
            buffer.copy_(self._buffers_before[name])
        self._restart_draws()

    def _restart_draws(self) -> None:
        torch.set_rng_state(self._random["cpu"])
        if "cuda" in self._random:
            device, cuda_state = self._random["cuda"]
            torch.cuda.set_rng_state(cuda_state, device)


def _copies(buffers: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies by name, with one kernel per dtype."""
    made = {name: torch.empty_like(b) for name, b in buffers.items()}
    for dtype in {b.dtype for b in buffers.values()}:
        names = [name for name, b in buffers.items() if b.dtype == dtype]
        torch._foreach_copy_([made[name] for name in names], [buffers[name] for name in names])
    return made


def _random_state(device: torch.device) -> dict[str, Any]:
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = (device, torch.cuda.get_rng_state(device))
    return state
