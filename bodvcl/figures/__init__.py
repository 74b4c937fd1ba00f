"""Figures of runs, side by side."""
