"""Frame-exact access to any frames of a video file."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence, Set

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from bodvcl.data.files.images import image_frames
from bodvcl.data.files.opening import opened
from bodvcl.data.files.orientation import upright
from bodvcl.data.files.video import BadVideo, VideoInfo

_local = threading.local()


def _numbered(
    container: InputContainer,
    stream: VideoStream,
    info: VideoInfo,
    start: int | None,
    wanted: Set[int] | None,
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode from the current position, or from key frame number `start`: (frame number, frame).

    With `wanted` timestamps, H.264 frames are skipped that are neither wanted nor a reference of others.
    """
    if start is not None:
        container.seek(info.pts_of(int(info.keyframes[start])), stream=stream)
    skipping = info.codec == "h264" and not info.sequential
    count = 0
    for packet in container.demux(stream):
        skip = skipping and wanted is not None and packet.pts not in wanted
        stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"
        for frame in packet.decode():
            number = count if info.sequential else info.frame_at(frame.pts)
            count += 1
            if number >= 0:
                yield number, frame


def _find(
    container: InputContainer, stream: VideoStream, info: VideoInfo, wanted: Sequence[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The wanted frames, in increasing order, with one seek per run of groups of pictures."""
    stamps = {info.pts_of(number) for number in wanted}
    position, frames = -1, _numbered(container, stream, info, None, stamps)
    for target in wanted:
        key = int(np.searchsorted(info.keyframes, target, side="right")) - 1
        if not info.sequential and info.keyframes[key] > position + 1:
            frames = _numbered(container, stream, info, key, stamps)
        back = 1
        while True:
            position, frame = next((pair for pair in frames if pair[0] >= target), (info.frames, None))
            if position == target and frame is not None:
                break
            if info.sequential or key <= 0:
                raise BadVideo(info.path, f"frame {target} of {info.frames} cannot be decoded")
            key, back = max(key - back, 0), back * 2
            frames = _numbered(container, stream, info, key, None)
        if frame.is_corrupt:
            raise BadVideo(info.path, f"frame {target} of {info.frames} is damaged")
        yield target, frame


def stream_frames(info: VideoInfo, numbers: Sequence[int], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Decode frames one after the other; memory does not grow with their number.

    Args:
        info: the file, from :func:`bodvcl.data.files.probing.probe_video`.
        numbers: frame numbers in 0 .. info.frames - 1, strictly increasing.
        size: (height, width) in pixels to scale to, after rotation.

    Yields:
        uint8 (height, width, 3) RGB, rotated and mirrored for display.

    Raises:
        BadVideo: a frame cannot be decoded, or the file is gone.
    """
    if info.whole is not None:
        info, numbers = info.whole, [number + info.first for number in numbers]
    height, width = size if info.rotation in (0, 180) else size[::-1]
    reformatter = _local.__dict__.setdefault("reformatter", VideoReformatter())
    if info.images:
        for image in image_frames(info, numbers):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            same = image.shape[:2] == size
            yield image if same else reformatter.reformat(frame, width, height, threads=1).to_ndarray()
        return
    with opened(info.path, info.held) as (container, stream):
        for _, frame in _find(container, stream, info, numbers):
            image = reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
            yield upright(image, info.rotation, info.mirrored)


def read_frames(
    info: VideoInfo, indices: Sequence[int] | np.ndarray, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Decode exactly the frames asked for.

    Args:
        info: the file, from :func:`bodvcl.data.files.probing.probe_video`.
        indices: frame numbers in 0 .. info.frames - 1, in any order, repeats allowed.
        size: (height, width) in pixels to scale to, after rotation. None: the video's own size.

    Returns:
        uint8 (len(indices), height, width, 3) RGB.

    Raises:
        IndexError: a frame number is outside of the video.
        BadVideo: a frame cannot be decoded, or the file is gone.
    """
    indices = np.asarray(indices, np.int64)
    wanted, places = np.unique(indices, return_inverse=True)
    if len(wanted) == 0 or wanted[0] < 0 or wanted[-1] >= info.frames:
        raise IndexError(
            f"frames {indices.tolist()} of {info.path}; expected numbers from 0 to {info.frames - 1}"
        )
    size = size or (info.height, info.width)
    out = np.empty((len(wanted), *size, 3), np.uint8)
    for row, image in enumerate(stream_frames(info, wanted.tolist(), size)):
        out[row] = image
    return out if len(wanted) == len(indices) and (places == np.arange(len(indices))).all() else out[places]
