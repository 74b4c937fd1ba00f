"""What is known about one video file, or folder of images: its frames, their times, how they are displayed.

Frame i is the i-th frame of a sequential decode, for constant and variable frame rates, open groups of
pictures, edit lists, and (by decoding from the start) files without usable timestamps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bodvcl.data.files.timeline import playing_times
from bodvcl.data.sets.rows import part_name
from bodvcl.data.sets.spans import Span
from bodvcl.data.tars.held import Held
from bodvcl.errors import DataError


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
    """What a scan finds out about a file: everything that sampling and reading need.

    Attributes:
        path: the file, or the folder of images.
        frames: number of frames that a sequential decode gives.
        fps: average frame rate without gaps; 0 if unknown.
        width, height: size of a displayed frame in pixels, after rotation and with square pixels.
        rotation: counter-clockwise turn that decoded frames need, in degrees: 0, 90, 180 or 270.
        codec: name of the codec.
        duration: seconds, from the first frame to the end of the last, without gaps.
        sequential: frames cannot be found by their timestamps, only by decoding from the start.
        time_base: seconds per unit of the timestamps; 0 if the times of the frames are unknown.
        first_pts, pts_step: timestamps are first_pts + i * pts_step when `pts` is None.
        pts: int64 (frames,) timestamps of a variable frame rate, strictly increasing, else None.
        keyframes: int32, numbers of the frames at which decoding can start, 0 among them.
        pixel_format: FFmpeg's name of the stored pixels, for example yuv420p.
        colour_space: number of the matrix coefficients (ITU-T H.273): 1 BT.709, 5 or 6 BT.601, 2 unknown.
        hidden: number of stored frames that an edit list leaves out.
        streams: number of video streams in the file, without cover art; the first is used.
        mirrored: decoded frames must be mirrored left and right before they are turned.
        gaps: int32, numbers of the frames that come after a gap in the recording.
        jumps: number of frames whose timestamp repeats, goes back, or comes after a gap.
        stored_width: width of a stored frame, before rotation, if its pixels are not square; 0: they are.
        images: of a folder of images, the name of the image with a number, ``images % number``; the numbers
            are the timestamps. "": the video is a file.
        image_bytes: bytes of all images of the folder.
        fingerprint: a number from the bytes, see :func:`bodvcl.data.files.digests.fingerprint`; 0: none.
        labels: label columns of a list, name to text.
        split: split in the list, or "".
        content: path of the first scanned video with the same bytes, perhaps its own path; "" if no other
            video has the same bytes.
        held: the bytes of a larger file that the video is; None: a file of its own.
        whole: the video that this one is a part of, as :func:`~bodvcl.data.files.parts.part_of` cuts it out.
            All numbers and times of frames count from the first frame of the part. None: all of the file.
        first: number of the first frame of the part in ``whole``.
        span: the part as frames of the file; None if no video of the data set is a part of this file.
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
    stored_width: int = 0
    images: str = ""
    image_bytes: int = 0
    fingerprint: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    split: str = ""
    content: str = ""
    held: Held | None = None
    whole: VideoInfo | None = None
    first: int = 0
    span: Span | None = None

    @property
    def begins(self) -> float:
        """Seconds from the first frame of the file to the first frame of the video."""
        if self.whole is None:
            return 0.0
        return (self.whole.pts_of(self.first) - self.whole.pts_of(0)) * self.time_base

    @property
    def name(self) -> str:
        """The path, and of a part its seconds in the file."""
        if self.whole is None:
            return self.path
        return part_name(self.path, self.begins, self.begins + self.duration)

    @property
    def variable_rate(self) -> bool:
        """Whether its frame rate is not constant."""
        return self.pts is not None

    @property
    def pixels(self) -> tuple[int, int]:
        """(height, width) of an upright frame in pixels as they are stored.

        It is the size that frames are decoded to without scaling. Where pixels are not square, it has another
        shape than the displayed frame. Boxes in shares of the frame are the same in both.
        """
        if not self.stored_width:
            return self.height, self.width
        turned = self.rotation in (90, 270)
        return (self.stored_width, self.width) if turned else (self.height, self.stored_width)

    @property
    def longest_group(self) -> int:
        """Largest number of frames from one key frame to the next."""
        return int(np.diff(self.keyframes, append=self.frames).max())

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
        """float64 (frames,): seconds since the first frame, including gaps."""
        if self.pts is None:
            return np.arange(self.frames) * (self.pts_step * self.time_base)
        times: np.ndarray = (self.pts - self.pts[0]) * self.time_base
        return times

    def playing_times(self) -> np.ndarray:
        """float64 (frames,): seconds since the first frame; a gap lasts as long as a usual step."""
        if self.pts is None:
            return self.times()
        return playing_times(self.pts, self.time_base, self.gaps)
