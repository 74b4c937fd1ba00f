"""Open the video stream of a file. Every failure is raised as :class:`~bodvcl.data.files.video.BadVideo`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypedDict

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from bodvcl.data.files.video import BadVideo
from bodvcl.data.tars.held import Held, HeldError, held_file


class Metadata(TypedDict, total=False):
    """Options of `av.open`."""

    metadata_errors: str


ANY_METADATA: Metadata = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Options of `av.open` that allow metadata in any encoding. PyAV 19 needs none."""


def pictures(container: InputContainer) -> list[VideoStream]:
    """The video streams of a file, without cover art."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


@contextmanager
def opened(path: str, held: Held | None = None) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the first video stream of a file (not cover art), with one decoding thread.

    Args:
        path: the file.
        held: the part of a larger file that the video is; None: a file of its own.

    Raises:
        BadVideo: the file cannot be opened, or has no video.
    """
    try:
        if (os.path.getsize(path) if held is None else held.size) == 0:
            raise BadVideo(path, "empty file (0 bytes)")
        with ExitStack() as stack:
            source = os.path.abspath(path) if held is None else stack.enter_context(held_file(held))
            container = stack.enter_context(av.open(source, **ANY_METADATA))
            found = pictures(container)
            if not found:
                others = ", ".join(sorted({s.type for s in container.streams.get() if s.type != "video"}))
                raise BadVideo(path, f"no video stream in it (only {others or 'a still picture'})")
            stream = found[0]
            if stream.codec_context is None:
                raise BadVideo(path, "this FFmpeg has no decoder for its video")
            stream.codec_context.thread_count = 1
            stream.thread_type = "NONE"
            yield container, stream
    except BadVideo:
        raise
    except HeldError as error:
        raise BadVideo(path, str(error)) from error
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
