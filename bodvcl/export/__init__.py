"""A trained encoder in the formats of other programs."""
