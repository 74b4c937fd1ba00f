"""Where training clips come from: one interface, whatever decodes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.batch import ClipBatch
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.pyav_source import ClipLoader
from bodvcl.data.sources.source_choice import can_run_dali, can_run_torchcodec, choose_decoder
from bodvcl.errors import ConfigError


class ClipSource(Protocol):
    """Batches of clips as a function of (seed, epoch, step).

    Every source draws the same videos, frames, boxes, flips, colours and blurs for the same address; the
    pixels differ between sources only by how a library converts and resizes.

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
            DataError: too many files are unreadable, or the decoder is lost and no file is to blame.
        """
        ...

    def close(self) -> None:
        """End processes, threads and decoders. The source can still be used; it starts them again."""
        ...


def open_source(
    config: TrainConfig, videos: Sequence[VideoInfo], rank: int, world_size: int, device: torch.device
) -> ClipSource:
    """The source that a configuration asks for; rank 0 prints which one it is, and why.

    Args:
        config: its clip, augment, decode, decoder, batch_size, seed and workers are used.
        videos: to train on; a video's number is its place here.
        rank, world_size: this process among those that train together; `config.batch_size` is that of all.
        device: of the training.

    Raises:
        ConfigError: the decoder that was asked for cannot be used, or the batch cannot be shared equally.
        DataError: more videos per batch than there are videos.
    """
    torchcodec = can_run_torchcodec(videos) if config.decoder == "torchcodec" else (False, "not asked for")
    name, reason = choose_decoder(config.decoder, device, can_run_dali(videos, device), torchcodec)
    if rank == 0:
        print(f"decoding with {name}: {reason}")
    if config.decode.keep and name != "pyav":
        raise ConfigError(f"--decode.keep is for --decoder pyav, and this run decodes with {name}: remove it")
    settings = {
        "batch_size": config.batch_size,
        "seed": config.seed,
        "workers": config.workers,
        "rank": rank,
        "world_size": world_size,
        "max_bad": config.decode.max_bad,
    }
    if name == "dali":
        from bodvcl.data.sources.dali_source import DaliSource

        return DaliSource(videos, config.clip, config.augment, device=device, **settings)
    if name == "torchcodec":
        from bodvcl.data.sources.torchcodec_source import TorchCodecSource

        return TorchCodecSource(videos, config.clip, config.augment, device=device, **settings)
    decode = config.decode
    return ClipLoader(
        videos, config.clip, config.augment, timeout=decode.timeout, keep=decode.keep, **settings
    )
