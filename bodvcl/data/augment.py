"""The import path of :func:`bodvcl.data.clips.augment.finish` in release 0.1.0, kept."""

from __future__ import annotations

from bodvcl.data.clips.augment import finish

__all__ = ["finish"]
