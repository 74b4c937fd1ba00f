"""The import path of :class:`bodvcl.data.sources.source.ClipSource` in release 0.1.0, kept."""

from __future__ import annotations

from bodvcl.data.sources.source import ClipSource, open_source

__all__ = ["ClipSource", "open_source"]
