"""Checks of a node before a training starts there. Each module looks at one thing and returns an `Outcome`."""
