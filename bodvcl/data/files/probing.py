"""Find out what a video file holds, from its packets and first frame or by decoding it."""

from __future__ import annotations

import os
from collections.abc import Set
from dataclasses import dataclass, field
from itertools import pairwise

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from bodvcl.data.files.digests import fingerprint
from bodvcl.data.files.images import probe_images
from bodvcl.data.files.opening import opened, pictures
from bodvcl.data.files.orientation import orientation
from bodvcl.data.files.pixel_shape import displayed_width
from bodvcl.data.files.timeline import Timeline, counted_timeline, plausible_rate, timeline
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.tars.held import Held
from bodvcl.text.words import counted

_NO_SEEK_FORMATS = {"avi", "mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v"}
_COUNTING_FORMATS = {"avi"}  # a timestamp is the number of the packet, in units of the header's frame time
_HIDDEN_FRAME_CODECS = {"vp8"}  # packets that decode to no frame: the packets cannot be counted


@dataclass
class _Packets:
    """What the packets of a stream say, in decoding order. Packets of hidden frames are only counted."""

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    hidden: int = 0

    def seekable(self) -> bool:
        """Whether every frame has its own timestamp, and decoding times never go back."""
        known = [dts for dts in self.dts if dts is not None]
        back = any(later < earlier for earlier, later in pairwise(known))
        return not back and None not in self.pts and len(set(self.pts)) == len(self.pts)


def _demux(path: str, container: InputContainer, stream: VideoStream) -> _Packets:
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


def _header_rate(stream: VideoStream) -> float:
    """Frame rate in the header of the file, in frames per second; 0 if there is none."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate and rate.denominator else 0.0


def _display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """int32 (9,), see :func:`bodvcl.data.files.orientation.orientation`."""
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(data, np.int32)  # type: ignore[call-overload]  # PyAV's types lack that it is a buffer


def _sequential_timeline(
    formats: Set[str], packets: _Packets, shown: list[int | None], unit: float, header: float
) -> Timeline:
    """The times of frames that were decoded from start to end; `shown` are their timestamps."""
    counting = bool(formats & _COUNTING_FORMATS)
    counts = counting and None not in packets.dts
    stamps = [stamp for stamp in (packets.dts if counts else shown) if stamp is not None]
    if len(stamps) != len(shown):
        return counted_timeline(len(shown), header)
    found = timeline(np.asarray(sorted(stamps) if counts else stamps, np.int64), unit, header)
    if counting and not plausible_rate(found.fps):  # its timestamps count at the rate of the header
        return counted_timeline(len(shown), header)
    return found


def probe_video(path: str | os.PathLike[str], held: Held | None = None) -> VideoInfo:
    """Find out what a file contains, from its packets and first frame, or by decoding all of it.

    All of it is decoded if it has no usable timestamps.

    Args:
        path: the file, or a folder of images.
        held: the part of a larger file that the video is; None: a file of its own.

    Raises:
        BadVideo: the file is missing, empty, truncated, has no video, or no decodable frame; or see
            :func:`~bodvcl.data.files.images.probe_images`.
    """
    path = os.fspath(path)
    if held is None and os.path.isdir(path):
        return probe_images(path)
    with opened(path, held) as (container, stream):
        packets = _demux(path, container, stream)
        if not packets.pts:
            raise BadVideo(path, "no video frame in it")
        formats = set(container.format.name.split(","))
        unit, header = float(stream.time_base or 0), _header_rate(stream)
        sequential = bool(formats & _NO_SEEK_FORMATS) or not packets.seekable() or not unit
        codec = stream.codec_context.codec.canonical_name
        streams = len(pictures(container))
        shape = stream.sample_aspect_ratio
    stamps, keys = packets.pts, packets.keys
    with opened(path, held) as (container, stream):
        decoded = container.decode(stream)
        first = next(decoded, None)
        if first is None:
            raise BadVideo(path, "no frame can be decoded")
        pixel_format, colour_space = first.format.name, int(first.colorspace)
        rotation, mirrored = orientation(_display_matrix(first))
        shown_width = displayed_width(first.width, shape)
        width, height = (first.height, shown_width) if rotation in (90, 270) else (shown_width, first.height)
        stored_width = first.width if shown_width != first.width else 0
        if sequential:
            stamps = [first.pts, *(frame.pts for frame in decoded)]
        elif codec in _HIDDEN_FRAME_CODECS:
            shown = {first.pts, *(frame.pts for frame in decoded)}
            keys = [key for pts, key in zip(stamps, keys) if pts in shown]
            stamps = [pts for pts in stamps if pts in shown]
    if sequential:
        times = _sequential_timeline(formats, packets, stamps, unit, header)
        starts = np.zeros(0, np.int64)
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
        stored_width=stored_width,
        fingerprint=fingerprint(path) if held is None else 0,
        held=held,
    )
