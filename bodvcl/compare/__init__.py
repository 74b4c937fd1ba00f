"""Is it worth it? The plain method and BOD-VCL on the same videos with the same seeds, and what differs."""
