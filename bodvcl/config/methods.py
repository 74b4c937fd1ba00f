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

DECOUPLED = {"none": "", "pred": " + L_pred", "bod": " + BOD-VCL"}
"""What --decouple adds to the name of a method in print."""

WHOLE_CLIP = ("dualvar", "hdc")
"""Methods that compare whole clips in their own ways and have no per-frame streams to split."""


def method_title(method: str, decouple: str) -> str:
    """How a run was trained, in print: V-SimCLR + BOD-VCL."""
    return TITLES.get(method, method) + DECOUPLED.get(decouple, "")
