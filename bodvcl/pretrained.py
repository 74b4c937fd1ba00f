"""An encoder that bodvcl trained, for frames of your own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bodvcl.data.clips.frames import clips_from_frames
from bodvcl.errors import ConfigError
from bodvcl.export.facts import ClipFormat, EncoderFacts
from bodvcl.export.opening import open_encoder
from bodvcl.models.encoder import VideoEncoder, mean_and_std
from bodvcl.models.streams import koopman_streams
from bodvcl.system.folders import expand

__all__ = ["ClipFormat", "FrameEncoder", "load_encoder"]


class FrameEncoder(nn.Module):
    """A trained encoder: clips to one feature per frame.

    Attributes:
        encoder: backbone and projector.
        facts: what belongs to it: its network, its clips, its training.
        clip: the clips that it was trained on.
    """

    def __init__(self, encoder: VideoEncoder, facts: EncoderFacts) -> None:
        super().__init__()
        self.encoder = encoder
        self.facts = facts
        self.clip = facts.clip

    def prepare(self, frames: Tensor | np.ndarray) -> Tensor:
        """Frames as they were decoded to clips as the encoder takes them, without augmentation.

        Cuts out the largest centred square, resizes it with antialiasing and normalises it, as
        ``bodvcl probe`` does.

        Args:
            frames: uint8 RGB, ``(L, height, width, 3)`` for one clip or ``(N, L, height, width, 3)`` for N.

        Returns:
            ``(N, 3, L, size, size)`` float, in the dtype and on the device of the encoder's weights.

        Raises:
            TypeError: frames are not uint8.
            ValueError: another shape, or not as many frames as a clip has.
        """
        clip, weight = self.clip, next(self.encoder.parameters())
        return clips_from_frames(frames, clip.frames, clip.size, clip.mean, clip.std, weight)

    def forward(self, clips: Tensor) -> Tensor:
        """Features of the backbone, for downstream use.

        Args:
            clips: ``(N, 3, L, height, width)`` float, normalised; :meth:`prepare` makes them from frames.

        Returns:
            ``(N, T, D)``, one feature per frame: T is L, or half of it with the backbone vit_b16, which makes
            one feature for two frames.

        Raises:
            TypeError: clips are not floating point.
            ValueError: another shape.
        """
        _check_clips(clips)
        return self.encoder.frames(clips)

    def pooled(self, clips: Tensor) -> Tensor:
        """One vector per clip, for search and classifiers: mean and deviation of its features over time.

        The mean alone loses what changes in a clip. ``bodvcl probe`` calls these features ``backbone+std``.

        Args:
            clips: as for :meth:`forward`.

        Returns:
            ``(N, 2 D)``: D means, then D standard deviations.
        """
        return mean_and_std(self(clips))

    def embeddings(self, clips: Tensor) -> Tensor:
        """Embeddings of the projector ``(N, T, M)``: what the Koopman split and the losses were applied to.

        Args:
            clips: as for :meth:`forward`.
        """
        _check_clips(clips)
        embedded: Tensor = self.encoder(clips)
        return embedded

    def streams(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """The two streams of the Koopman split, for search by appearance and by motion.

        Args:
            clips: as for :meth:`forward`.

        Returns:
            static and dynamic, ``(N, M)`` each: what a clip shows, and how it moves (Eq. 21 of the paper).
        """
        split = koopman_streams(self.embeddings(clips), self.facts.koopman, None).embeddings
        return split["static"], split["dynamic"]


def load_encoder(path: str | Path, device: torch.device | str = "cpu") -> FrameEncoder:
    """Load the encoder of a finished run, or of an export of it.

    Args:
        path: folder of the run, its ``checkpoint/encoder.pt``, a file of ``bodvcl export --to safetensors``,
            or a folder of ``--to hf``.
        device: where the encoder is wanted: "cpu", "cuda", "cuda:N", or a ``torch.device``.

    Returns:
        A module in evaluation mode. Its weights can be trained further; for features alone call it under
        ``torch.inference_mode()``.

    Raises:
        bodvcl.errors.CheckpointError: no such file or folder, a run that is not finished, not an encoder of
            bodvcl, or one of a version that this one cannot read.
        bodvcl.errors.ConfigError: a device that this machine does not have.
    """
    return FrameEncoder(*open_encoder(expand(path), _available(device))).eval()


def _available(device: torch.device | str) -> torch.device:
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"load_encoder: device: expected cpu, cuda or cuda:N, got {device!r}") from error
    count = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= count:
        raise ConfigError(
            f"load_encoder: device: PyTorch sees {count} CUDA devices here, got {device}: take device='cpu'"
        )
    return found


def _check_clips(clips: Tensor) -> None:
    if not isinstance(clips, Tensor) or not clips.is_floating_point():
        got = clips.dtype if isinstance(clips, Tensor) else type(clips).__name__
        raise TypeError(f"clips: expected a floating-point tensor, got {got}: `prepare` makes it from frames")
    if clips.dim() != 5 or clips.shape[1] != 3:
        raise ValueError(
            f"clips: expected (N, 3, frames, height, width), got {tuple(clips.shape)}: `prepare` makes them "
            "from frames"
        )
