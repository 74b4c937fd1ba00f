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
from itertools import pairwise

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from bodvcl.data.files.orientation import orientation, upright
from bodvcl.data.files.timeline import Timeline, counted_timeline, plausible_rate, playing_times, timeline
from bodvcl.errors import DataError
from bodvcl.text.words import counted

_NO_SEEK_FORMATS = {"avi", "mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v"}
_COUNTING_FORMATS = {"avi"}  # a timestamp is a number of the packet times the header's rate
_HIDDEN_FRAME_CODECS = {"vp8"}  # packets that decode to no frame: the packets cannot be counted
ANY_METADATA = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""For `av.open` of a file: metadata that is not UTF-8 does not matter. PyAV 19 needs no option for that."""
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
        fps: average frame rate, without gaps, from the timestamps; 0 if nothing tells it.
        width, height: pixels of a frame as it is to be shown, after rotation.
        rotation: counter-clockwise turn that decoded frames need, in degrees: 0, 90, 180 or 270.
        codec: name of the codec.
        duration: seconds, from the first frame to the end of the last, without gaps.
        sequential: frames cannot be found by their timestamps, so they are found by decoding from the start.
        time_base: seconds per unit of the timestamps; 0 if nothing tells the time of a frame.
        first_pts, pts_step: timestamps are first_pts + i * pts_step when `pts` is None.
        pts: int64 (frames,) timestamps of a variable frame rate, strictly increasing, else None.
        keyframes: int32, numbers of the frames at which decoding can start, 0 among them.
        pixel_format: FFmpeg's name of the stored pixels, for example yuv420p.
        colour_space: number of the matrix coefficients (ITU-T H.273): 1 BT.709, 5 or 6 BT.601, 2 not told.
        hidden: frames that are stored but not shown, because an edit list leaves them out.
        streams: video streams in the file, cover art apart; the first is used.
        mirrored: decoded frames are to be mirrored left and right before they are turned.
        gaps: int32, numbers of the frames before which nothing was recorded for long.
        jumps: frames whose timestamp repeats, goes back, or comes after a gap.
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
    mirrored: bool = False
    gaps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    jumps: int = 0
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
        """float64 (frames,): seconds since the first frame, as the file has them; gaps count."""
        if self.pts is None:
            return np.arange(self.frames) * (self.pts_step * self.time_base)
        return (self.pts - self.pts[0]) * self.time_base

    def playing_times(self) -> np.ndarray:
        """float64 (frames,): seconds since the first frame; a gap lasts as long as a usual step."""
        if self.pts is None:
            return self.times()
        return playing_times(self.pts, self.time_base, self.gaps)


def _pictures(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The video streams of a file, cover art apart."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


@contextmanager
def _opened(path: str) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a file's first video stream (no cover art) with one decoding thread; failures become BadVideo."""
    try:
        if os.path.getsize(path) == 0:
            raise BadVideo(path, "empty file (0 bytes)")
        with av.open(os.path.abspath(path), **ANY_METADATA) as container:
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


@dataclass
class _Packets:
    """What the packets of a stream say, in decoding order; those whose frame is hidden are only counted."""

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    hidden: int = 0

    def seekable(self) -> bool:
        """Whether every frame has a timestamp of its own, and time never goes back."""
        known = [dts for dts in self.dts if dts is not None]
        back = any(later < earlier for earlier, later in pairwise(known))
        return not back and None not in self.pts and len(set(self.pts)) == len(self.pts)


def _demux(path: str, container: av.container.InputContainer, stream: av.VideoStream) -> _Packets:
    found = _Packets()
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        if packet.is_discard:
            found.hidden += 1
            continue
        if packet.is_corrupt:
            raise BadVideo(path, f"truncated or damaged after {counted(len(found.pts), 'frame')}")
        found.pts.append(packet.pts)
        found.dts.append(packet.dts)
        found.keys.append(packet.is_keyframe)
    return found


def _header_rate(stream: av.VideoStream) -> float:
    """Frames per second that the file says, 0 if none."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate and rate.denominator else 0.0


def _display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """int32 (9,), see :func:`bodvcl.data.files.orientation.orientation`."""
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(data, np.int32)


def _sequential_timeline(
    formats: Set[str], packets: _Packets, shown: list[int | None], unit: float, header: float
) -> Timeline:
    """The times of frames that were decoded from start to end and had the timestamps `shown`."""
    counting = bool(formats & _COUNTING_FORMATS)
    stamps = sorted(packets.dts) if counting and None not in packets.dts else shown
    if len(stamps) != len(shown) or None in stamps:
        return counted_timeline(len(shown), header)
    found = timeline(np.asarray(stamps, np.int64), unit, header)
    if counting and not plausible_rate(found.fps):  # its timestamps count at the rate of the header
        return counted_timeline(len(shown), header)
    return found


def probe_video(path: str | os.PathLike[str]) -> VideoInfo:
    """Read what a file holds, from its packets and first frame; without usable timestamps it is decoded.

    Raises:
        BadVideo: the file is missing, empty, truncated, has no video, or no decodable frame.
    """
    path = os.fspath(path)
    with _opened(path) as (container, stream):
        packets = _demux(path, container, stream)
        if not packets.pts:
            raise BadVideo(path, "no video frame in it")
        formats = set(container.format.name.split(","))
        unit, header = float(stream.time_base or 0), _header_rate(stream)
        sequential = bool(formats & _NO_SEEK_FORMATS) or not packets.seekable() or not unit
        codec = stream.codec_context.codec.canonical_name
        streams = len(_pictures(container))
    stamps, keys = packets.pts, packets.keys
    with _opened(path) as (container, stream):
        decoded = container.decode(stream)
        first = next(decoded, None)
        if first is None:
            raise BadVideo(path, "no frame can be decoded")
        pixel_format, colour_space = first.format.name, int(first.colorspace)
        rotation, mirrored = orientation(_display_matrix(first))
        width, height = (first.height, first.width) if rotation in (90, 270) else (first.width, first.height)
        if sequential:
            stamps, keys = [first.pts, *(frame.pts for frame in decoded)], [True]
        elif codec in _HIDDEN_FRAME_CODECS:
            shown = {first.pts, *(frame.pts for frame in decoded)}
            stamps, keys = zip(*((pts, key) for pts, key in zip(stamps, keys) if pts in shown))
    if sequential:
        times, starts = _sequential_timeline(formats, packets, stamps, unit, header), []
    else:
        order = np.argsort(np.asarray(stamps, np.int64), kind="stable")
        times = timeline(np.asarray(stamps, np.int64)[order], unit, header)
        starts = np.flatnonzero(np.asarray(keys)[order])
    pts, frames = times.stamps, len(times.stamps)
    steps = np.diff(pts)
    return VideoInfo(
        path=path,
        frames=frames,
        fps=times.fps,
        width=width,
        height=height,
        rotation=rotation,
        codec=codec,
        duration=frames / times.fps if times.fps else 0.0,
        sequential=sequential,
        time_base=times.unit,
        first_pts=int(pts[0]),
        pts_step=int(steps[0]) if len(steps) else 1,
        pts=None if len(pts) == 1 or bool((steps == steps[0]).all()) else pts,
        keyframes=np.union1d([0], starts).astype(np.int32),
        pixel_format=pixel_format,
        colour_space=colour_space,
        hidden=packets.hidden,
        streams=streams,
        mirrored=mirrored,
        gaps=times.gaps,
        jumps=times.jumps,
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


def _find(container, stream, info: VideoInfo, wanted: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
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
    """Decode frames one after the other from one open file; memory does not grow with their number.

    Args:
        info: the file, from :func:`probe_video`.
        numbers: frame numbers in 0 .. info.frames - 1, strictly increasing.
        size: (height, width) to scale to, after rotation.

    Yields:
        uint8 (height, width, 3) RGB, as it is to be shown.

    Raises:
        BadVideo: a frame cannot be decoded, or the file is gone.
    """
    height, width = size if info.rotation in (0, 180) else size[::-1]
    reformatter = _local.__dict__.setdefault("reformatter", VideoReformatter())
    with _opened(info.path) as (container, stream):
        for _, frame in _find(container, stream, info, numbers):
            image = reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
            yield upright(image, info.rotation, info.mirrored)


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
    size = size or (info.height, info.width)
    out = np.empty((len(wanted), *size, 3), np.uint8)
    for row, image in enumerate(stream_frames(info, wanted.tolist(), size)):
        out[row] = image
    return out if len(wanted) == len(indices) and (places == np.arange(len(indices))).all() else out[places]
