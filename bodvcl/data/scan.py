"""The import path of :func:`bodvcl.data.files.scan.scan` in release 0.1.0, kept."""

from __future__ import annotations

from bodvcl.data.files.scan import ScanResult, scan

__all__ = ["ScanResult", "scan"]
