"""The source of training clips: one interface, whichever library decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from bodvcl.config.schema import DecodeConfig
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.sources.pyav_source import PyAVSource, bytes_decoded
from bodvcl.data.sources.source_choice import Decoder, can_run_dali, can_run_torchcodec, choose_decoder
from bodvcl.errors import ConfigError
from bodvcl.system.memory import machine_memory

_KEPT_SHARE = 0.1
"""Share of the machine's memory that decoded videos may take without being asked for."""


class ClipSource(Protocol):
    """Batches of clips as a function of (seed, epoch, step).

    For the same (seed, epoch, step), every source gives the same videos, frames, boxes, flips, colours and
    blurs. Pixels differ between sources only because libraries convert and resize differently.

    Attributes:
        steps_per_epoch: batches in an epoch.
    """

    steps_per_epoch: int

    @property
    def failed(self) -> dict[str, str]:
        """Path to reason of every file that could not be read so far."""
        ...

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[ClipBatch]:
        """Batches start_step .. steps_per_epoch - 1 of an epoch, in order; `clips` may lie on the GPU.

        Raises:
            DataError: too many files are unreadable, or the decoder died and no file caused it.
        """
        ...

    def close(self) -> None:
        """End processes, threads and decoders. The source can still be used: it then starts them again."""
        ...


def open_source(
    plan: ClipPlan,
    decode: DecodeConfig,
    *,
    device: torch.device,
    decoder: Decoder = "auto",
    workers: int | None = None,
    local_size: int = 1,
) -> ClipSource:
    """The source that decodes the clips of a plan; rank 0 prints which one it is, and why.

    Args:
        plan: what each step sees.
        decode: decoding limits and cache.
        device: device of the training.
        decoder: "auto", "pyav", "dali" or "torchcodec".
        workers: decoding processes or threads of this process. None: by the number of cores.
        local_size: number of processes on this machine that train together.

    Raises:
        ConfigError: the decoder that was asked for cannot be used.
    """
    torchcodec = can_run_torchcodec(plan.videos) if decoder == "torchcodec" else (False, "not asked for")
    name, reason = choose_decoder(decoder, device, can_run_dali(plan.videos, device), torchcodec)
    keep = decode.keep
    if keep is None:
        keep = _affordable(plan, local_size) if name == "pyav" else 0.0
    if plan.rank == 0:
        stay = f"; all videos stay decoded in memory, {1000 * keep:.3g} MB"
        print(f"decoding with {name}: {reason}{stay if decode.keep is None and keep else ''}")
    if decode.keep and name != "pyav":
        raise ConfigError(
            f"--decode.keep applies only to --decoder pyav, and this run decodes with {name}: remove it"
        )
    if name == "dali":
        from bodvcl.data.sources.dali_source import DaliSource

        return DaliSource(plan, device, workers=workers, max_bad=decode.max_bad)
    if name == "torchcodec":
        from bodvcl.data.sources.torchcodec_source import TorchCodecSource

        return TorchCodecSource(plan, device, workers=workers, max_bad=decode.max_bad)
    return PyAVSource(plan, workers=workers, timeout=decode.timeout, max_bad=decode.max_bad, keep=keep)


def _affordable(plan: ClipPlan, local_size: int) -> float:
    """Gigabytes for all videos of a plan, if they are a small part of the machine's memory; else 0."""
    most = _KEPT_SHARE * machine_memory() / local_size
    needed = bytes_decoded(plan, most)
    return needed / 1e9 if needed <= most else 0.0
