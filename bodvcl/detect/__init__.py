"""Action detection on AVA: who does what, where and when."""
