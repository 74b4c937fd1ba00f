"""Controlled experiments: what the method does where the truth is known."""
