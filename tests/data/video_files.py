"""Writes test videos with real encoders; every frame carries its number as a barcode."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 10
CELL = 8


def barcode(number: int, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): ten black or white stripes in the upper part, a moving grey below."""
    image = np.full((height, width, 3), 40 + number % 16 * 10, np.uint8)
    for bit in range(BITS):
        image[: height - CELL, bit * CELL : (bit + 1) * CELL] = 235 * (number >> bit & 1)
    return image


def read_barcode(image: np.ndarray) -> int:
    """The number in a frame of uint8 (H, W, 3)."""
    rows = image[2 : image.shape[0] - CELL - 2].astype(float).mean(axis=(0, 2))
    return sum(1 << bit for bit in range(BITS) if rows[bit * CELL + 2 : (bit + 1) * CELL - 2].mean() > 117)


def write_video(
    path: Path,
    frames: int = 50,
    *,
    size: tuple[int, int] = (48, 80),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int = 25,
    stamps: Sequence[int] | None = None,
    gop: int = 12,
    rotation: int = 0,
    audio: bool = False,
    container: str | None = None,
    options: dict[str, str] | None = None,
    movflags: str = "",
) -> Path:
    """Encode barcodes 0 .. frames - 1; `stamps` are timestamps in milliseconds for a variable frame rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    muxing = {"movflags": movflags} if movflags else {}
    with _usual_priority(), av.open(str(path), "w", format=container, options=muxing) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.gop_size = gop
        stream.thread_count = 1
        stream.options = options or {}
        if rotation:
            stream.set_display_rotation(rotation)
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = out.add_stream("aac" if codec == "libx264" else "libopus", rate=48000) if audio else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(barcode(number, *size), format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            _write_silence(out, sound, 1.0)
    return path


@contextmanager
def _usual_priority() -> Iterator[None]:
    """SVT-AV1, as root, gives the calling process real-time priority and does not take it back."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _write_silence(out, stream, seconds: float) -> None:
    for start in range(0, int(seconds * 48000), 960):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48000, start
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


VARIABLE = [i * 40 + (i % 7) * 3 for i in range(50)]
"""Timestamps in milliseconds of fifty frames at a variable rate."""

_REALTIME = {"cpu-used": "8", "deadline": "realtime"}
_OPEN = "open-gop=1:bframes=3:keyint=10:min-keyint=10:scenecut=0"
_QUIET = "log-level=none"

CATALOGUE: dict[str, dict] = {
    "h264.mp4": {},
    "h264.mov": {},
    "h264.mkv": {},
    "h264.flv": {},
    "h264.avi": {},
    "h264.ts": {},
    "h264.h264": {"container": "h264"},
    "h264_fragments.mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    "h264_open_groups.mp4": {"options": {"x264-params": _OPEN}},
    "h264_intra.mp4": {"gop": 1},
    "h264_one_group.mkv": {"gop": 250},
    "h264_ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "h264_full_colour.mkv": {"pix_fmt": "yuv444p"},
    "odd_size.mp4": {"size": (47, 81), "pix_fmt": "yuv444p"},
    "odd_size.mkv": {"size": (33, 95), "codec": "ffv1", "pix_fmt": "yuv444p"},
    "variable_rate.mp4": {"stamps": VARIABLE},
    "variable_rate.mkv": {"stamps": VARIABLE},
    "variable_rate.avi": {"stamps": VARIABLE, "codec": "mpeg4", "options": {"bf": "2"}},
    "variable_rate.webm": {"stamps": VARIABLE, "codec": "libvpx-vp9", "options": _REALTIME},
    "late_start.mp4": {"stamps": [5000 + 40 * i for i in range(50)]},
    "late_start.mkv": {"stamps": [5000 + 40 * i for i in range(50)]},
    "long_gap.mp4": {"stamps": [40 * i + 100_000 * (i > 25) for i in range(50)]},
    "sound.mp4": {"audio": True},
    "sound.mkv": {"audio": True},
    "sound.ts": {"audio": True},
    "sound.webm": {"audio": True, "codec": "libvpx-vp9", "options": _REALTIME},
    "one_frame.mp4": {"frames": 1},
    "one_frame.webm": {"frames": 1, "codec": "libvpx-vp9", "options": _REALTIME},
    "one_frame.avi": {"frames": 1, "codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "two_frames.mkv": {"frames": 2},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": f"{_QUIET}:bframes=3"}},
    "hevc_open_groups.mkv": {"codec": "libx265", "options": {"x265-params": f"{_QUIET}:{_OPEN}"}},
    "hevc_ten_bit.mov": {
        "codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"x265-params": _QUIET}
    },
    "hevc.ts": {"codec": "libx265", "options": {"x265-params": _QUIET}},
    "vp8_hidden_frames.webm": {
        "codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "10", "cpu-used": "8"}
    },
    "vp9.webm": {"codec": "libvpx-vp9", "options": _REALTIME},
    "vp9_hidden_frames.mkv": {
        "codec": "libvpx-vp9", "options": {"auto-alt-ref": "1", "lag-in-frames": "10", "cpu-used": "8"}
    },
    "av1.mp4": {"codec": "libsvtav1", "size": (64, 96), "options": {"preset": "12"}},
    "av1.mkv": {"codec": "libsvtav1", "size": (64, 96), "options": {"preset": "12"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "msmpeg4.avi": {"codec": "msmpeg4"},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "prores.mov": {"codec": "prores", "pix_fmt": "yuv422p10le"},
    "wmv2.wmv": {"codec": "wmv2"},
    "flv1.flv": {"codec": "flv"},
    "h263.3gp": {"codec": "h263", "size": (96, 128)},
}  # fmt: skip
"""File name to options of :func:`write_video`: what data sets come in, and the traps of each."""


def can_encode(name: str) -> bool:
    """Whether the FFmpeg of this PyAV has the encoder of a file of the catalogue."""
    try:
        av.codec.Codec(CATALOGUE[name].get("codec", "libx264"), "w")
    except av.error.FFmpegError:
        return False
    return True


def write_audio(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as out:
        _write_silence(out, out.add_stream("aac", rate=48000), 0.5)
    return path


def cut_without_decoding(source: Path, target: Path, first_packet: int) -> Path:
    """Copy packets from inside a group of pictures on: the .mp4 has an edit list that hides some of them."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        stream = given.streams.video[0]
        copy = out.add_stream_from_template(stream)
        packets = [packet for packet in given.demux(stream) if packet.size]
        shift = packets[first_packet].pts
        start = max(i for i in range(first_packet + 1) if packets[i].is_keyframe)
        for packet in packets[start:]:
            packet.stream = copy
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            out.mux(packet)
    return target


def sequential_numbers(path: Path) -> list[int]:
    """Barcodes of a plain decode from start to end: the truth that random access is compared with."""
    with av.open(str(path)) as container:
        return [read_barcode(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def remux(source: Path, target: Path, **options: str) -> Path:
    """Copy the packets into another container."""
    with av.open(str(source)) as given, av.open(str(target), "w", options=options) as out:
        stream = given.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    return target


def set_display_matrix(source: Path, target: Path, matrix: Sequence[float]) -> Path:
    """A copy of an .mp4 file with the nine numbers of the display matrix of its track replaced."""
    data = bytearray(source.read_bytes())
    header = data.index(b"tkhd") + 4
    place = header + (48 if data[header] else 36) + 4
    units = [1 << 30 if number % 3 == 2 else 1 << 16 for number in range(9)]
    data[place : place + 36] = struct.pack(">9i", *(round(v * u) for v, u in zip(matrix, units)))
    target.write_bytes(data)
    return target


def restamp(source: Path, target: Path, stamps: Sequence[int]) -> Path:
    """Copy the packets of a file without B-frames, with other timestamps, in milliseconds."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        copy = out.add_stream_from_template(given.streams.video[0])
        packets = (packet for packet in given.demux(video=0) if packet.size)
        for packet, stamp in zip(packets, stamps, strict=True):
            packet.stream, packet.time_base = copy, Fraction(1, 1000)
            packet.pts = packet.dts = stamp
            out.mux(packet)
    return target


def join_streams(target: Path, *sources: Path) -> Path:
    """MPEG-TS files one after the other, with packets counted on: a recorder whose clock was set anew."""
    data = bytearray(b"".join(source.read_bytes() for source in sources))
    counters: dict[int, int] = {}
    for start in range(0, len(data), 188):
        stream = (data[start + 1] & 0x1F) << 8 | data[start + 2]
        if data[start + 3] & 0x10:  # packets without payload do not count
            counters[stream] = (counters.get(stream, -1) + 1) % 16
        data[start + 3] = data[start + 3] & 0xF0 | counters.get(stream, 0)
    target.write_bytes(data)
    return target


def flip_bytes(source: Path, target: Path, seed: int) -> Path:
    """A copy with forty bytes in a row changed, somewhere in the middle of the pictures."""
    data = bytearray(source.read_bytes())
    rng = np.random.default_rng(seed)
    first, last = int(0.3 * len(data)), int(0.8 * len(data))
    if b"mdat" in data:
        first = data.index(b"mdat") + 4
        after = data.find(b"moov", first)
        last = (after if after > 0 else len(data)) - 44
        first += (last - first) // 4
    start = int(rng.integers(first, max(last, first + 1)))
    for place in range(start, min(start + 40, len(data))):
        data[place] ^= int(rng.integers(1, 255))
    target.write_bytes(data)
    return target


def varied_copy(source: Path, target: Path) -> Path:
    """A copy of an .mp4 file with the same frames and other bytes: its name, in a part that readers skip."""
    name = os.fsencode(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes() + (8 + len(name)).to_bytes(4, "big") + b"free" + name)
    return target


def truncate(source: Path, target: Path, share: float) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(share * len(data))])
    return target
