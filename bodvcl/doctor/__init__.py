"""Checks of a machine before a training starts there. Each module looks at one thing."""
