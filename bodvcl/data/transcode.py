"""The import path of :mod:`bodvcl.data.files.transcode` in release 0.1.0, kept."""

from __future__ import annotations

from bodvcl.data.files.copies import CopySettings
from bodvcl.data.files.transcode import CopyReport, transcode, write_copy

__all__ = ["CopyReport", "CopySettings", "transcode", "write_copy"]
