"""The paper, equation by equation, in plain PyTorch: what every fast route is tested against."""

from __future__ import annotations
