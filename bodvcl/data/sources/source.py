"""The source of training clips: one interface, whichever library decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from bodvcl.config.schema import DecodeConfig
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.sources.pyav_source import PyAVSource
from bodvcl.data.sources.source_choice import Decoder, can_run_dali, can_run_torchcodec, choose_decoder
from bodvcl.errors import ConfigError


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
) -> ClipSource:
    """The source that decodes the clips of a plan; rank 0 prints which one it is, and why.

    Args:
        plan: what each step sees.
        decode: decoding limits and cache.
        device: device of the training.
        decoder: "auto", "pyav", "dali" or "torchcodec".
        workers: decoding processes or threads of this process. None: by the number of cores.

    Raises:
        ConfigError: the decoder that was asked for cannot be used.
    """
    torchcodec = can_run_torchcodec(plan.videos) if decoder == "torchcodec" else (False, "not asked for")
    name, reason = choose_decoder(decoder, device, can_run_dali(plan.videos, device), torchcodec)
    if plan.rank == 0:
        print(f"decoding with {name}: {reason}")
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
    return PyAVSource(plan, workers=workers, timeout=decode.timeout, max_bad=decode.max_bad, keep=decode.keep)
