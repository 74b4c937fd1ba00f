"""The warning about a prediction loss that is 0 whatever the features are."""

from __future__ import annotations

import threading
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from bodvcl.ops.checks import capturing
from bodvcl.ops.koopman.results import KoopmanRaw
from bodvcl.ops.koopman.spec import KoopmanSpec
from bodvcl.ops.transforms import concrete


class KoopmanWarning(UserWarning):
    """The chosen mode of the prediction loss has nothing to learn from."""


class _Look(NamedTuple):
    """Whether clips on a GPU were fitted exactly: the answer, on its way until the event has happened.

    ``shape`` are their pairs of frames and their width.
    """

    answer: Tensor
    there: torch.cuda.Event
    shape: tuple[int, int]


_warned: set[str] = set()
_looks: list[_Look] = []
_lock = threading.Lock()


def warn_if_vacuous(
    features: Tensor, frame_mask: Tensor | None, spec: KoopmanSpec, raw: KoopmanRaw, mode: str
) -> None:
    """Warn, once in a process, where ``mode="train"`` fits every pair of clips (B, T, M) exactly.

    Nothing waits for a GPU: the answer is copied to the host as the work goes on, and the warning comes with
    a later call that finds it there. While a CUDA graph is captured, and in compiled code, nobody looks.
    """
    n, m = features.shape[1] - 1, features.shape[2]
    could_be = mode == "train" and spec.ridge == 0 and n <= m and spec.rank in (0, n)
    if not could_be or "train" in _warned or torch.compiler.is_compiling() or not features.shape[0]:
        return
    if capturing(features):
        return
    found = _look(frame_mask, raw, (n, m))
    if found is not None:
        _warned.add("train")
        warnings.warn(
            "mode='train' is vacuous here: {} pairs of frames of width {} are fitted exactly, so the "
            "prediction error is 0 and only the orthogonality term is left. Use mode='loo' or 'forecast', or "
            "ridge > 0.".format(*found),
            KoopmanWarning,
            stacklevel=3,
        )


def _look(frame_mask: Tensor | None, raw: KoopmanRaw, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Pairs of frames and width of clips that were fitted exactly: these, or on a GPU those of before."""
    with _lock:
        look = _looks.pop() if _looks else None
    if look is not None:
        if look.there.query():
            return look.shape if look.answer else None
        _looks.append(look)
        return None
    pairs = shape[0] if frame_mask is None else (frame_mask[:, 1:] & frame_mask[:, :-1]).sum(-1)
    exact = concrete(raw.stats[:, 1] == pairs).all()
    if not exact.is_cuda:
        return shape if exact else None
    answer = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(exact, non_blocking=True)
    there = torch.cuda.Event()
    there.record(torch.cuda.current_stream(exact.device))
    _looks.append(_Look(answer, there, shape))
    return None
