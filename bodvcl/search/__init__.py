"""Videos that look alike or move alike, from a file of ``bodvcl embed``."""
