"""Writes videos of smooth moving waves, to compare pixels between decoders: a wrong frame shows at once."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

VP9 = {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}}
MJPEG = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}

MEAN, MOST = 2.5, 16.0
"""Tolerance between decoders, in levels of 255. FFmpeg's scaler, as PyAV uses it, cuts off and does not round
(1 to 1.5 levels too dark) and repeats the colour of two by two pixels, where DALI interpolates it. One frame
off is a mean of 7. This holds where the clip is not smaller than the crop: PyAV else decodes to a reduced
size, and rounds the box to its pixels."""


def write_waves(
    path: Path,
    frames: int = 30,
    *,
    size: tuple[int, int] = (96, 160),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    bt709: bool = False,
) -> Path:
    """Encode three waves, one per colour, that move from frame to frame; colours as BT.601 or BT.709."""
    y, x = np.mgrid[: size[0], : size[1]]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt, stream.bit_rate, stream.options = pix_fmt, 4_000_000, options or {}
        stream.codec_context.gop_size = 12
        if bt709:
            stream.codec_context.colorspace = 1
        for number in range(frames):
            waves = [np.sin(x / 17 + number / 5 + c) * np.cos(y / 13 + 2 * c) for c in range(3)]
            image = (127 + 90 * np.stack(waves, -1)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if bt709:
                frame = frame.reformat(format=pix_fmt, dst_colorspace="ITU709")
                frame.colorspace = 1
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
