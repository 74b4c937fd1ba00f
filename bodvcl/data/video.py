"""One video file: what it holds, and frame-exact access to any of its frames.

Frame i is the i-th frame of a sequential decode, for constant and variable frame rates, open groups of
pictures, edit lists, and (by decoding from the start) files without usable timestamps.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from bodvcl.errors import DataError
from bodvcl.words import counted

_NO_SEEK_FORMATS = {"avi", "mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v"}
_HIDDEN_FRAME_CODECS = {"vp8"}  # packets that decode to no frame: the packets cannot be counted
_ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
_local = threading.local()


class BadVideo(DataError):
    """A file that cannot be used.

    Attributes:
        path: the file.
        reason: one line that says why.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class VideoInfo:
    """What a scan learns about a file; all that a sampler and a reader need.

    Attributes:
        path: the file.
        frames: number of frames that a sequential decode gives.
        fps: average frame rate; 0 if the file does not tell.
        width, height: pixels of a frame as it is to be shown, after rotation.
        rotation: counter-clockwise turn that decoded frames need, in degrees: 0, 90, 180 or 270.
        codec: name of the codec.
        duration: seconds, from the first frame to the end of the last.
        sequential: no usable timestamps, so frames are found by decoding from the start.
        time_base: seconds per unit of the timestamps.
        first_pts, pts_step: timestamps are first_pts + i * pts_step when `pts` is None.
        pts: int64 (frames,) timestamps of a variable frame rate, else None.
        keyframes: int32, numbers of the frames at which decoding can start, 0 among them.
        pixel_format: FFmpeg's name of the stored pixels, for example yuv420p.
        colour_space: number of the matrix coefficients (ITU-T H.273): 1 BT.709, 5 or 6 BT.601, 2 not told.
        hidden: frames that are stored but not shown, because an edit list leaves them out.
        streams: video streams in the file, cover art apart; the first is used.
        labels: label columns of a list, name to text.
        split: split named by a list, or "".
        content: the first of the scanned videos that hold the same bytes as this one, itself perhaps; "" if
            there is no other.
    """

    path: str
    frames: int
    fps: float
    width: int
    height: int
    rotation: int
    codec: str
    duration: float
    sequential: bool
    time_base: float
    first_pts: int
    pts_step: int
    pts: np.ndarray | None
    keyframes: np.ndarray
    pixel_format: str = ""
    colour_space: int = 2
    hidden: int = 0
    streams: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    split: str = ""
    content: str = ""

    def pts_of(self, frame: int) -> int:
        """Timestamp of a frame, in units of `time_base`."""
        return int(self.pts[frame]) if self.pts is not None else self.first_pts + frame * self.pts_step

    def frame_at(self, pts: int | None) -> int:
        """Number of the frame with exactly this timestamp, or -1."""
        if pts is None:
            return -1
        if self.pts is None:
            frame, rest = divmod(pts - self.first_pts, self.pts_step)
            return frame if rest == 0 and 0 <= frame < self.frames else -1
        frame = int(np.searchsorted(self.pts, pts))
        return frame if frame < self.frames and self.pts[frame] == pts else -1

    def times(self) -> np.ndarray:
        """float64 (frames,): seconds since the first frame."""
        if self.pts is None:
            return np.arange(self.frames) * (self.pts_step * self.time_base)
        return (self.pts - self.pts[0]) * self.time_base


def _pictures(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The video streams of a file, cover art apart."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


@contextmanager
def _opened(path: str) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a file's first video stream (no cover art) with one decoding thread; failures become BadVideo."""
    try:
        if os.path.getsize(path) == 0:
            raise BadVideo(path, "empty file (0 bytes)")
        with av.open(os.path.abspath(path), metadata_errors="replace") as container:
            pictures = _pictures(container)
            if not pictures:
                held = ", ".join(sorted({s.type for s in container.streams.get() if s.type != "video"}))
                raise BadVideo(path, f"no video stream in it (only {held or 'a still picture'})")
            stream = pictures[0]
            if stream.codec_context is None:
                raise BadVideo(path, "this FFmpeg has no decoder for its video")
            stream.codec_context.thread_count = 1
            stream.thread_type = "NONE"
            yield container, stream
    except BadVideo:
        raise
    except FileNotFoundError:
        raise BadVideo(path, "no such file") from None
    except IsADirectoryError:
        raise BadVideo(path, "a folder, not a file") from None
    except PermissionError:
        raise BadVideo(path, "no permission to read it") from None
    except UnicodeEncodeError:
        raise BadVideo(path, "its name is not valid text; rename it") from None
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadVideo(path, f"not readable as a video ({reason})") from error


def _demux(
    path: str, container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[list, list, int]:
    """Timestamps (None where missing) and key flags of all packets whose frame is shown, in decoding order.

    The third result is the number of packets whose frame an edit list hides.
    """
    stamps, keys, hidden = [], [], 0
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        if packet.is_discard:
            hidden += 1
            continue
        if packet.is_corrupt:
            raise BadVideo(path, f"truncated or damaged after {counted(len(stamps), 'frame')}")
        stamps.append(packet.pts)
        keys.append(packet.is_keyframe)
    return stamps, keys, hidden


def probe_video(path: str | os.PathLike[str]) -> VideoInfo:
    """Read what a file holds, from its packets and first frame; without usable timestamps it is decoded.

    Raises:
        BadVideo: the file is missing, empty, truncated, has no video, or no decodable frame.
    """
    path = os.fspath(path)
    with _opened(path) as (container, stream):
        stamps, keys, hidden = _demux(path, container, stream)
        if not stamps:
            raise BadVideo(path, "no video frame in it")
        format_names = set(container.format.name.split(","))
        sequential = bool(format_names & _NO_SEEK_FORMATS) or None in stamps or len(set(stamps)) < len(stamps)
        codec = stream.codec_context.codec.canonical_name
        rate = stream.average_rate or stream.guessed_rate
        time_base = float(stream.time_base)
        streams = len(_pictures(container))
    with _opened(path) as (container, stream):
        decoded = container.decode(stream)
        first = next(decoded, None)
        if first is None:
            raise BadVideo(path, "no frame can be decoded")
        pixel_format, colour_space = first.format.name, int(first.colorspace)
        width, height, rotation = first.width, first.height, round(first.rotation / 90) % 4 * 90
        if sequential:
            stamps, keys = [0] + [1 + i for i, _ in enumerate(decoded)], [True]
        elif codec in _HIDDEN_FRAME_CODECS:
            shown = {first.pts, *(frame.pts for frame in decoded)}
            stamps, keys = zip(*((pts, key) for pts, key in zip(stamps, keys) if pts in shown))
    if rotation in (90, 270):
        width, height = height, width
    fps = float(rate or 0)
    if sequential:
        time_base = 1 / fps if fps else 0.0
    order = np.argsort(np.asarray(stamps, np.int64), kind="stable")
    pts = np.asarray(stamps, np.int64)[order]
    starts = [] if sequential else np.flatnonzero(np.asarray(keys)[order])
    steps = np.diff(pts)
    regular = len(pts) == 1 or bool((steps == steps[0]).all())
    step = int(steps[0]) if len(steps) else 1
    span = float(pts[-1] - pts[0]) * time_base
    return VideoInfo(
        path=path,
        frames=len(pts),
        fps=fps,
        width=width,
        height=height,
        rotation=rotation,
        codec=codec,
        duration=span + (span / (len(pts) - 1) if len(pts) > 1 else (1 / fps if fps else 0.0)),
        sequential=sequential,
        time_base=time_base,
        first_pts=int(pts[0]),
        pts_step=step,
        pts=None if regular else pts,
        keyframes=np.union1d([0], starts).astype(np.int32),
        pixel_format=pixel_format,
        colour_space=colour_space,
        hidden=hidden,
        streams=streams,
    )


def _numbered(
    container, stream, info: VideoInfo, start: int | None, wanted: Set[int] | None
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode on from the current place, or from key frame number `start`: (frame number, frame).

    With `wanted` timestamps, H.264 frames that are neither wanted nor a reference of others are skipped.
    """
    if start is not None:
        container.seek(info.pts_of(int(info.keyframes[start])), stream=stream)
    skipping = wanted is not None and info.codec == "h264" and not info.sequential
    count = 0
    for packet in container.demux(stream):
        skip = skipping and packet.pts not in wanted
        stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"
        for frame in packet.decode():
            number = count if info.sequential else info.frame_at(frame.pts)
            count += 1
            if number >= 0:
                yield number, frame


def _find(container, stream, info: VideoInfo, wanted: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
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


def read_frames(
    info: VideoInfo, indices: Sequence[int] | np.ndarray, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Decode exactly the frames asked for.

    Args:
        info: the file, from :func:`probe_video`.
        indices: frame numbers in 0 .. info.frames - 1, in any order, repeats allowed.
        size: (height, width) to scale to, after rotation. None: the video's own size.

    Returns:
        uint8 (len(indices), height, width, 3) RGB.

    Raises:
        IndexError: a frame number outside of the video.
        BadVideo: a frame cannot be decoded, or the file is gone.
    """
    indices = np.asarray(indices, np.int64)
    wanted, places = np.unique(indices, return_inverse=True)
    if len(wanted) == 0 or wanted[0] < 0 or wanted[-1] >= info.frames:
        raise IndexError(f"frames {indices.tolist()} of a video of {info.frames} frames")
    height, width = size or (info.height, info.width)
    turned = info.rotation in (90, 270)
    reformatter = _local.__dict__.setdefault("reformatter", VideoReformatter())
    scaled = {"height": width, "width": height} if turned else {"height": height, "width": width}
    out = np.empty((len(wanted), height, width, 3), np.uint8)
    with _opened(info.path) as (container, stream):
        for row, (_, frame) in enumerate(_find(container, stream, info, wanted.tolist())):
            image = reformatter.reformat(frame, format="rgb24", **scaled, **_ONE_THREAD).to_ndarray()
            out[row] = np.rot90(image, info.rotation // 90) if info.rotation else image
    return out if len(wanted) == len(indices) and (places == np.arange(len(indices))).all() else out[places]
