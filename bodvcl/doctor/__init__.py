"""Checks of a node: what would stop a training here, found in seconds before it starts."""
