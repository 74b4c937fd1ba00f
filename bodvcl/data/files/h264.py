"""The H.264 stream of an MP4 file that every browser plays and every decoder reads alike."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from av.container import OutputContainer
from av.video.stream import VideoStream

_BT601, _LIMITED = 6, 1  # numbers of ITU-T H.273: matrix, primaries and transfer of BT.601 (525 lines), range


def add_h264(
    container: OutputContainer,
    size: tuple[int, int],
    *,
    rate: Fraction,
    unit: Fraction,
    options: Mapping[str, str],
) -> VideoStream:
    """Add a stream to a file that is being written: 8 bits, 4:2:0, colours as BT.601 says, one thread.

    Args:
        container: the file.
        size: (width, height) in pixels, both even.
        rate: frames per second, for the header.
        unit: seconds per unit of the timestamps of its frames.
        options: options of x264.
    """
    stream = container.add_stream("libx264", rate=rate)
    stream.width, stream.height = size
    stream.pix_fmt, stream.thread_count = "yuv420p", 1
    context = stream.codec_context
    context.time_base = unit
    context.colorspace = context.color_primaries = context.color_trc = _BT601
    context.color_range = _LIMITED
    stream.options = {"preset": "veryfast", **options}
    return stream
