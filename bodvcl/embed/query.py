"""The vectors of one video that is not in a file of embeddings, made as those of the file were."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodvcl.data.files.clip_fit import fits, why_unfit
from bodvcl.data.files.probing import probe_video
from bodvcl.embed.file import About
from bodvcl.embed.reading import Task, read_rows
from bodvcl.embed.rows import Rows, frame_ends, window_around
from bodvcl.embed.vectors import Embedder, embed_batches, open_embedder
from bodvcl.engine.device import pick_device
from bodvcl.errors import CheckpointError, DataError
from bodvcl.evaluate.options import ClipOptions
from bodvcl.system.folders import expand
from bodvcl.system.global_state import restored


@restored()
def embed_query(
    path: str,
    about: About,
    *,
    checkpoint: Path | None = None,
    seconds: float | None = None,
    device: str = "auto",
) -> dict[str, NDArray[np.float32]]:
    """The vectors of a video, or of a part of it.

    Args:
        path: the video.
        about: the file of embeddings that they are compared with.
        checkpoint: the encoder of that file, where it is now. None: where it was.
        seconds: time of the part; its middle, as far as the video allows. The part is as long as a window of
            the file, or as a clip where its rows are whole videos. None: the whole video.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        Kind of vector to float32 ``(width,)``.

    Raises:
        CheckpointError: the encoder is not there, or has other weights.
        DataError: the video cannot be read, or is too short.
    """
    file = expand(checkpoint or about.checkpoint)
    try:
        embedder = _opened(str(file), _changed(file), tuple(about.clip.items()), device)
    except CheckpointError as error:
        where = "" if checkpoint else "; say with --checkpoint where the encoder of the embeddings is now"
        raise CheckpointError(f"{error}{where}") from error
    if embedder.weights != about.weights:
        raise CheckpointError(
            f"{file} has other weights than the encoder that made the file of embeddings: give that one with "
            "--checkpoint, or make the file again with bodvcl embed"
        )
    info = probe_video(str(expand(path)))
    if (why := why_unfit(info, embedder.clip)) is not None:
        raise DataError(f"{path}: {why}")
    first, stop, clips = 0, info.frames, about.clips
    if seconds is not None:
        if not 0 <= seconds <= frame_ends(info)[1]:
            raise DataError(f"{path}: it has no second {seconds:g}; expected 0 to {frame_ends(info)[1]:.2f}")
        first, stop = window_around(info, embedder.clip, seconds, about.window)
        clips = about.clips if about.window is not None else 1
        if not fits(info, embedder.clip, np.array([first]), np.array([stop])).all():
            raise DataError(f"{path}: no clip fits into a window of {about.window:g} s at {seconds:g} s")
    one = Rows(np.array([0]), np.array([first]), np.array([stop]), np.zeros(1), np.zeros(1))
    batches = read_rows([info], one, embedder.clip, clips, [Task(0, 1)], 0)
    found = next(embed_batches(embedder, batches, clips, frames=False))
    if not found.rows:
        raise DataError(f"{path}: {found.failures[0][1]}")
    return {kind: values[0] for kind, values in found.vectors.items()}


@functools.lru_cache(maxsize=1)
def _opened(file: str, changed: int, clip: tuple[tuple[str, object], ...], device: str) -> Embedder:
    """The encoder, kept for the next query."""
    del changed  # another version of the file is another encoder
    wanted = {name: value for name, value in clip if name in ClipOptions.__dataclass_fields__}
    return open_embedder(Path(file), ClipOptions(**wanted), pick_device(device))  # type: ignore[arg-type]


def _changed(file: Path) -> int:
    """When a checkpoint was last written; 0 where it is not there, which opening it says."""
    times = [path.stat().st_mtime_ns for path in (file, *file.glob("checkpoint/*.pt")) if path.exists()]
    return max(times, default=0)
