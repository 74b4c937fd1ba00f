"""Writes test videos with real encoders; every frame carries its number as a barcode."""

from __future__ import annotations

from collections.abc import Sequence
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
) -> Path:
    """Encode barcodes 0 .. frames - 1; `stamps` are timestamps in milliseconds for a variable frame rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as out:
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


def _write_silence(out, stream, seconds: float) -> None:
    for start in range(0, int(seconds * 48000), 960):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48000, start
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


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


def truncate(source: Path, target: Path, share: float) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(share * len(data))])
    return target
