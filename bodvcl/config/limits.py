"""Bounds of the numbers that a user gives; nothing heavy is imported for them."""

from __future__ import annotations

SEEDS = 2**63
"""Seeds are from 0 to one below it: what every generator in use takes."""

MOST = {int: 2**31 - 1, float: 1e12}
"""Numbers of options other than seeds: beyond it nothing has a meaning, and somewhere a number overflows."""
