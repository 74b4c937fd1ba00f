"""The films of AVA as video files or as extracted frames, and clips around a second of a film.

Seconds count from the beginning of the whole film. A file may hold the whole film, or the 15 minutes from
second 900 on; extracted frames begin at second 900, with 30 per second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_image

from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import BadVideo, VideoInfo
from bodvcl.data.sets.ava import FRAME_RATE, VIDEO_FOLDERS, ava_frames
from bodvcl.errors import DataError

CUT_AT = 900.0
"""Second of the film at which 15-minute files and extracted frames begin."""

_ROUNDING = 1e-3  # seconds: containers round the times of frames to a millisecond or less


@dataclass(frozen=True)
class Film:
    """A film, or a part of it, in one video file or as one image per frame.

    Attributes:
        name: id of the film.
        begins: second of the film at which its first frame is shown.
        source: the video file; or the paths of the images, with 30 per second.
    """

    name: str
    begins: float
    source: VideoInfo | tuple[str, ...]

    @property
    def path(self) -> str:
        """The file, or the folder of the images."""
        return str(Path(self.source[0]).parent) if isinstance(self.source, tuple) else self.source.path

    def times(self) -> np.ndarray:
        """float64 (frames,): when each frame is shown, in seconds of the film, increasing."""
        if isinstance(self.source, tuple):
            return self.begins + np.arange(len(self.source)) / FRAME_RATE
        return self.begins + self.source.times()

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """uint8 (L, H, W, 3) RGB: frames by their number.

        Raises:
            BadVideo: one of them cannot be read.
        """
        if not isinstance(self.source, tuple):
            return read_frames(self.source, numbers)
        wanted, places = np.unique(numbers, return_inverse=True)
        try:
            images = [decode_image(self.source[n], ImageReadMode.RGB).permute(1, 2, 0) for n in wanted]
            read: np.ndarray = torch.stack(images).numpy()[places]
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise BadVideo(self.path, f"images {wanted[0] + 1} to {wanted[-1] + 1}: {reason}") from error
        return read


def clip_numbers(
    times: np.ndarray, second: float, frames: int, stride: int, fps: float | None = None
) -> np.ndarray:
    """Frames of the clip around a key frame. Entry ``frames // 2`` is the one that is shown at its second.

    Before the beginning and after the end of the film the first and the last frame are repeated.

    Args:
        times: float64, seconds at which the frames of the film are shown.
        second: second of the key frame; :func:`shows` says whether the film holds it.
        frames: L, frames of the clip.
        stride: steps from one of them to the next.
        fps: steps per second. None: every frame of the film is a step.

    Returns:
        int64 (L,).
    """
    offsets = (np.arange(frames) - frames // 2) * stride
    wanted = second + offsets / fps if fps else np.array([second])
    numbers = np.searchsorted(times, wanted + _ROUNDING, side="right") - 1
    clip: np.ndarray = np.clip(numbers if fps else numbers[0] + offsets, 0, len(times) - 1)
    return clip


def shows(times: np.ndarray, second: float) -> bool:
    """Whether a frame is shown at a second: the last one lasts as long as the one before."""
    last = times[-1] - times[-2] if len(times) > 1 else 0.0
    return bool(times[0] - _ROUNDING <= second < times[-1] + last + _ROUNDING)


def open_films(
    data: str, root: Path, *, extracted: bool, begins: float | None, workers: int | None
) -> dict[str, Film]:
    """Every film of an AVA folder that can be used, by its id.

    Args:
        data: the data set as ``--data`` took it, ``ava:FOLDER``.
        root: that folder.
        extracted: use the extracted frames in place of the videos.
        begins: second of the film at which the video files begin. None: 900 for ``videos_15min`` and
            ``clips``, 0 for ``videos``.
        workers: number of processes that check files. None: one per core.

    Raises:
        DataError: there is none.
    """
    if extracted:
        return {film.name: film for film in _extracted(root)}
    found = scan(data, clip=None, workers=workers)
    if begins is None:
        whole, *cut = VIDEO_FOLDERS
        begins = (
            CUT_AT if not (root / whole).is_dir() and any((root / name).is_dir() for name in cut) else 0.0
        )
    films = {}
    for info in found.videos:
        if info.time_base > 0:
            films[Path(info.path).stem] = Film(Path(info.path).stem, begins, info)
    if not films:
        raise DataError(f"{root}: no video says when its frames are shown; convert them to .mp4")
    return films


def _extracted(root: Path) -> Iterable[Film]:
    folder = root / "frames"
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not names:
        raise DataError(f"{root}: no folder frames/<id> with the frames of a film in it; drop --extracted")
    return [Film(name, CUT_AT, tuple(ava_frames(root, name))) for name in names]
