"""Pages that show what a search found: one that is written to a file, and one that a local server answers."""
