"""Import paths of release 0.1.0 whose modules moved: they give the same objects, not copies."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from bodvcl.data import video
from bodvcl.data.files import reading

KEPT = [
    ("bodvcl.config", "ClipConfig", "bodvcl.config.schema"),
    ("bodvcl.data.augment", "finish", "bodvcl.data.clips.augment"),
    ("bodvcl.data.clips", "colour_matrix", "bodvcl.data.clips.colour"),
    ("bodvcl.data.clips", "required_frames", "bodvcl.data.files.clip_fit"),
    ("bodvcl.data.scan", "scan", "bodvcl.data.files.scan"),
    ("bodvcl.data.source", "ClipSource", "bodvcl.data.sources.source"),
    ("bodvcl.data.transcode", "write_copy", "bodvcl.data.files.transcode"),
    ("bodvcl.data.transcode", "CopySettings", "bodvcl.data.files.copies"),
    ("bodvcl.data.video", "probe_video", "bodvcl.data.files.probing"),
    ("bodvcl.data.video", "read_frames", "bodvcl.data.files.reading"),
]


@pytest.mark.parametrize(("path", "name", "home"), KEPT)
def test_a_kept_path_gives_the_object_of_the_new_one(path: str, name: str, home: str) -> None:
    kept, moved = (getattr(importlib.import_module(module), name) for module in (path, home))
    assert kept is moved


def test_what_is_replaced_at_the_kept_path_is_replaced_where_it_is_used() -> None:
    own = video._numbered
    assert own is reading._numbered
    try:
        video._numbered = len
        assert reading._numbered is len
    finally:
        video._numbered = own
    assert reading._numbered is own
    with pytest.raises(AttributeError, match="no_such_name"):
        video.no_such_name  # noqa: B018


def test_the_kept_command_is_bodvcl_data() -> None:
    done = [
        subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
        for module in ("bodvcl.data_cli", "bodvcl.data")
    ]
    assert done[0].stdout == done[1].stdout
    assert "transcode" in done[0].stdout
