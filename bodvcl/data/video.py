"""The import path of reading and probing a video in release 0.1.0, kept.

What another program replaces here, such as a function that it counts the calls of, is replaced in
:mod:`bodvcl.data.files.reading`, which uses it.
"""

from __future__ import annotations

import sys
from types import ModuleType

from bodvcl.data.files import reading
from bodvcl.data.files.probing import probe_video
from bodvcl.data.files.reading import read_frames, stream_frames
from bodvcl.data.files.video import BadVideo, VideoInfo

__all__ = ["BadVideo", "VideoInfo", "probe_video", "read_frames", "stream_frames"]


class _Kept(ModuleType):
    def __getattr__(self, name: str) -> object:
        value: object = getattr(reading, name)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(reading, name):
            setattr(reading, name, value)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Kept
