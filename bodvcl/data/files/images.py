"""Videos that are folders of numbered images: what a folder holds, and its frames."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bodvcl.data.files.digests import fingerprint_of_images
from bodvcl.data.files.timeline import find_gaps
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.sets.numbered import numbered_images

IMAGES = " images"
"""End of :attr:`VideoInfo.codec` of a folder of images."""

_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF: the tag, and values that exchange width and height
_EIGHT_BIT = frozenset(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"])
_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def probe_images(path: str) -> VideoInfo:
    """What a folder of numbered images holds, from the headers of all images; the first one is decoded.

    Images have no times: the result has none until :func:`at_rate` gives it a frame rate. Its timestamps are
    the numbers of the images.

    Args:
        path: the folder.

    Raises:
        BadVideo: the folder cannot be read, has no clear order of frames, or its images cannot be read, have
            different sizes, or more than 8 bits per channel.
    """
    try:
        found = numbered_images(os.listdir(path))
    except OSError as error:
        raise BadVideo(path, f"this folder cannot be read ({error.strerror or error})") from error
    if isinstance(found, str):
        raise BadVideo(path, f"a folder, not a file, and {found}")
    pattern, numbers = found
    size, total = (0, 0), 0
    for place, number in enumerate(numbers):
        name = pattern % number
        own, count = _header(path, name)
        total += count
        if place and own != size:
            raise BadVideo(
                path,
                f"image {name} is {own[1]}x{own[0]}, {pattern % numbers[0]} is {size[1]}x{size[0]}; images "
                "of a video must have one size",
            )
        size = own
    _decoded(path, pattern % numbers[0])
    stamps = np.array(numbers, np.int64)
    steps = np.diff(stamps)
    kind = "png" if pattern.lower().endswith("png") else "jpeg"
    return VideoInfo(
        path=path,
        frames=len(numbers),
        fps=0.0,
        width=size[1],
        height=size[0],
        rotation=0,
        codec=kind + IMAGES,
        duration=0.0,
        sequential=False,
        time_base=0.0,
        first_pts=numbers[0],
        pts_step=int(steps[0]),
        pts=None if bool((steps == steps[0]).all()) else stamps,
        keyframes=np.arange(len(numbers), dtype=np.int32),
        images=pattern,
        image_bytes=total,
        fingerprint=fingerprint_of_images(path, [pattern % numbers[0], pattern % numbers[-1]]),
    )


def at_rate(info: VideoInfo, fps: float) -> VideoInfo:
    """A folder of images with times. A number that is missing is a frame that is not there: time passes.

    Args:
        info: the folder, as :func:`probe_images` finds it.
        fps: images per second, where no number is missing.
    """
    usual = info.pts_step if info.pts is None else float(np.median(np.diff(info.pts)))
    unit = 1 / (fps * usual)
    gaps = info.gaps if info.pts is None else find_gaps(info.pts, unit)
    return replace(info, fps=fps, time_base=unit, duration=info.frames / fps, gaps=gaps)


def missing_numbers(info: VideoInfo) -> list[tuple[int, int]]:
    """First and last number of each run of numbers that is missing between two images."""
    if info.pts is None:
        return []
    steps = np.diff(info.pts)
    usual = int(np.median(steps))
    return [
        (int(info.pts[place]) + usual, max(int(info.pts[place + 1]) - usual, int(info.pts[place]) + usual))
        for place in np.flatnonzero(steps > usual).tolist()
    ]


def image_frames(info: VideoInfo, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """Frames of a folder of images; only these images are opened.

    Args:
        info: the folder.
        numbers: frame numbers in 0 .. info.frames - 1.

    Yields:
        uint8 (height, width, 3) RGB, turned as the EXIF data of the image say.

    Raises:
        BadVideo: an image cannot be decoded, has another size than the first, or is gone.
    """
    for number in numbers:
        name = info.images % info.pts_of(number)
        image = _decoded(info.path, name, number)
        if image.shape[:2] != (info.height, info.width):
            raise BadVideo(
                info.path,
                f"image {name} (frame {number}) is {image.shape[1]}x{image.shape[0]} instead of "
                f"{info.width}x{info.height}",
            )
        yield image


def _header(folder: str, name: str) -> tuple[tuple[int, int], int]:
    """(height, width) in pixels as displayed, and bytes, of an image."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            count = os.fstat(file.fileno()).st_size
            if not count:
                raise BadVideo(folder, f"image {name} is empty (0 bytes)")
            with Image.open(file) as image:
                if image.mode not in _EIGHT_BIT:
                    raise BadVideo(
                        folder, f"image {name} has pixels of kind {image.mode}; 8 bits are expected"
                    )
                width, height = image.size
                turned = "exif" in image.info and image.getexif().get(_ORIENTATION) in _TURNED
    except _ERRORS as error:
        raise BadVideo(folder, f"image {name}: {_reason(error)}") from error
    return ((width, height) if turned else (height, width)), count


def _decoded(folder: str, name: str, number: int = 0) -> np.ndarray:
    """uint8 (H, W, 3)."""
    try:
        with Image.open(os.path.join(folder, name)) as image:
            upright = ImageOps.exif_transpose(image) if "exif" in image.info else image
            return np.asarray(upright.convert("RGB"))
    except _ERRORS as error:
        raise BadVideo(folder, f"image {name} (frame {number}): {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not readable as an image"
    return getattr(error, "strerror", None) or " ".join(str(error).split())
