"""Facts about the contrastive methods. Needs no PyTorch."""

from __future__ import annotations

TITLES = {
    "simclr": "V-SimCLR",
    "moco": "V-MoCo",
    "byol": "V-BYOL",
    "swav": "V-SwAV",
    "dualvar": "DualVar",
    "hdc": "HDC-style",
}
"""Name of each method in print."""

WHOLE_CLIP = ("dualvar", "hdc")
"""Methods that compare whole clips in their own ways and have no per-frame streams to split."""
