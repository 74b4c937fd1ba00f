"""Vectors of videos under a trained encoder, in a file: what search, clustering and other programs read."""
