"""Which library decodes the training clips, and why: it depends on the videos and on what is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch

from bodvcl.data.files.columns import kinds
from bodvcl.data.files.images import IMAGES
from bodvcl.data.files.video import VideoInfo
from bodvcl.errors import ConfigError
from bodvcl.text.words import counted

Decoder = Literal["auto", "pyav", "dali", "torchcodec"]
Verdict = tuple[bool, str]
"""Whether a library can decode the videos, and why not."""

_DALI_CPU = frozenset({"vp8", "vp9", "mjpeg"})
_DALI_GPU = _DALI_CPU | {"h264", "hevc", "mpeg4", "av1"}
_EIGHT_BIT_420 = frozenset({"yuv420p", "yuvj420p"})
_JUDGED_BY = (
    *("codec", "sequential", "hidden", "rotation", "mirrored"),
    *("streams", "pixel_format", "colour_space"),
)  # fields that the reasons below depend on
_COLOURS = frozenset({1, 2, 5, 6})  # BT.709; unknown, which counts as BT.601; BT.601


def choose_decoder(
    requested: Decoder, device: torch.device, dali: Verdict, torchcodec: Verdict
) -> tuple[str, str]:
    """The library that decodes, and the reason.

    Args:
        requested: auto, pyav, dali or torchcodec.
        device: device of the training.
        dali, torchcodec: results of :func:`can_run_dali` and :func:`can_run_torchcodec`.

    Returns:
        "pyav", "dali" or "torchcodec", and the reason.

    Raises:
        ConfigError: the requested library cannot decode these videos here; the message says why.
    """
    able, why_not = {"auto": dali, "pyav": (True, ""), "dali": dali, "torchcodec": torchcodec}[requested]
    if requested == "auto":
        if device.type != "cuda":
            return "pyav", "the training runs on the CPU"
        return ("dali", "it decodes all videos on the GPU") if able else ("pyav", why_not)
    if not able:
        raise ConfigError(f"--decoder {requested} cannot be used: {why_not}; use --decoder pyav instead")
    return requested, "as asked for"


def can_run_dali(
    videos: Sequence[VideoInfo], device: torch.device, *, installed: bool | None = None
) -> Verdict:
    """Whether DALI is installed and decodes exactly the right frames of every video.

    Args:
        videos: to decode.
        device: DALI decodes three codecs on a CPU, more on a GPU.
        installed: whether DALI is installed. None: find out.
    """
    if not (_is_installed("nvidia.dali") if installed is None else installed):
        return (
            False,
            "DALI is not installed (pip install nvidia-dali-cuda130, or -cuda120 for CUDA 12)",
        )
    codecs = _DALI_GPU if device.type == "cuda" else _DALI_CPU
    return _verdict("DALI", videos, lambda video: _why_not_dali(video, codecs, device))


def can_run_torchcodec(videos: Sequence[VideoInfo], *, trouble: str | None = None) -> Verdict:
    """Whether TorchCodec is installed and decodes exactly the right frames of every video.

    Args:
        videos: to decode.
        trouble: why TorchCodec cannot be loaded; "" if it can. None: find out.
    """
    trouble = _torchcodec_trouble() if trouble is None else trouble
    return (False, trouble) if trouble else _verdict("TorchCodec", videos, _why_not_torchcodec)


def _why_not_dali(video: VideoInfo, codecs: frozenset[str], device: torch.device) -> str:
    if video.codec.endswith(IMAGES):
        return "a folder of images, which only PyAV's workers read"
    if video.codec not in codecs:
        return f"DALI does not decode {video.codec} on {device.type}"
    if video.sequential:
        return "no usable timestamps"
    if video.hidden:
        return f"{counted(video.hidden, 'stored frame')} not shown, and DALI counts them"
    if video.rotation:
        return "DALI does not apply the rotation"
    if video.mirrored:
        return "stored mirrored, and DALI does not undo that"
    if video.streams > 1:
        return f"{video.streams} video streams, and DALI may decode another one"
    if video.pixel_format not in _EIGHT_BIT_420:
        return f"pixels are {video.pixel_format}; DALI converts 8-bit 4:2:0 only"
    if video.colour_space not in _COLOURS:
        return f"colours are neither BT.601 nor BT.709 (matrix {video.colour_space} of H.273)"
    return ""


def _why_not_torchcodec(video: VideoInfo) -> str:
    if video.codec.endswith(IMAGES):
        return "a folder of images, which only PyAV's workers read"
    if video.sequential:
        return "no usable timestamps, TorchCodec's frame numbers are off"
    if video.streams > 1:
        return f"{video.streams} video streams, and TorchCodec may decode another one"
    if video.mirrored:
        return "stored mirrored, and TorchCodec does not undo that"
    return ""


def _verdict(library: str, videos: Sequence[VideoInfo], why_not: Callable[[VideoInfo], str]) -> Verdict:
    codes, first = kinds(videos, _JUDGED_BY)
    examples = [(place, why_not(videos[place])) for place in first.tolist()]
    bad = np.array([bool(reason) for _, reason in examples], bool)[codes].sum()
    if not bad:
        return True, ""
    place, reason = next(example for example in examples if example[1])
    return False, (
        f"{library} cannot decode {bad} of {len(videos)} videos exactly, for example {videos[place].path}: "
        f"{reason}; `bodvcl data transcode` makes compatible copies"
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _torchcodec_trouble() -> str:
    if not _is_installed("torchcodec"):
        return "TorchCodec is not installed (pip install torchcodec)"
    from torchcodec.decoders import VideoDecoder

    try:
        VideoDecoder(b"not a video")
    except RuntimeError as error:
        if "load" in str(error).splitlines()[0]:
            return "TorchCodec finds no FFmpeg (versions 4 to 9); install FFmpeg's shared libraries"
    return ""
