"""Tables of runs in Markdown, LaTeX and CSV."""
