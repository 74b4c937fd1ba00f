"""Global state that a run changes and restores, so that a notebook can go on after it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch

Value = TypeVar("Value")


@contextmanager
def restored() -> Iterator[None]:
    """Restore global state at the end of the block, also after an error or :class:`SystemExit`.

    This covers PyTorch's rounding of float32 products (TF32), cuDNN's benchmark mode, PyTorch's random
    generators, the current CUDA device, and the environment variables. Also usable as a decorator.
    """
    with ExitStack() as stack:
        for keep in (_float32_rounding, _benchmark, _generators, _current_device, _environment):
            stack.callback(keep())
        yield


def _float32_rounding() -> Callable[[], None]:
    backends: Any = torch.backends  # torch sets these attributes when it runs; its types do not know them
    cudnn, mkldnn = backends.cudnn, backends.mkldnn
    holders = (backends, cudnn, backends.cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul)
    old = _readable(torch.get_float32_matmul_precision), _readable(lambda: cudnn.allow_tf32)
    own = []
    for holder in holders:  # general first: an unset flag reads as the more general one
        own.append(holder.fp32_precision)
        holder.fp32_precision = "none"

    def put_back() -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*TF32 behavior", category=UserWarning)
            if old[0] is not None:
                torch.set_float32_matmul_precision(old[0])
            if old[1] is not None:
                cudnn.allow_tf32 = old[1]
        for holder, value in zip(holders, own):  # the flags of old have set them too
            holder.fp32_precision = value

    put_back()
    return put_back


def _readable(flag: Callable[[], Value]) -> Value | None:
    """The flag; None where PyTorch refuses to read it, because newer flags contradict it."""
    try:
        return flag()
    except RuntimeError:
        return None


def _benchmark() -> Callable[[], None]:
    before = torch.backends.cudnn.benchmark

    def put_back() -> None:
        torch.backends.cudnn.benchmark = before

    return put_back


def _cuda_in_use() -> bool:
    return bool(torch.cuda.is_initialized())


def _generators() -> Callable[[], None]:
    """CUDA generators are only seeded again if CUDA is not in use: reading their state would start it."""
    seed, state = torch.initial_seed(), torch.get_rng_state()
    on_cuda = torch.cuda.get_rng_state_all() if _cuda_in_use() else None

    def put_back() -> None:
        torch.set_rng_state(state)
        if on_cuda is None:
            torch.cuda.manual_seed_all(seed)
        else:
            torch.cuda.set_rng_state_all(on_cuda)

    return put_back


def _current_device() -> Callable[[], None]:
    before = torch.cuda.current_device() if _cuda_in_use() else 0

    def put_back() -> None:
        if _cuda_in_use():
            torch.cuda.set_device(before)

    return put_back


def _environment() -> Callable[[], None]:
    before = dict(os.environ)

    def put_back() -> None:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})

    return put_back
