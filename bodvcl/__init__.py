"""bodvcl: video contrastive learning with decoupled static and dynamic semantics (BOD-VCL)."""

from __future__ import annotations

from bodvcl._supported import refuse_unsupported

__version__ = "0.1.0"

refuse_unsupported()
