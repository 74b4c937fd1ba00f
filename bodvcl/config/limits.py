"""Bounds of the numbers that a user gives. Imports nothing heavy."""

from __future__ import annotations

SEEDS = 2**63
"""Seeds are from 0 to SEEDS - 1, which every random generator accepts."""

MOST = {int: 2**31 - 1, float: 1e12}
"""Largest absolute value of options other than seeds; larger values make no sense and could overflow."""
