"""Build, check and measure bodvcl on a machine with an NVIDIA GPU: ``python -m bench.gpu FOLDER``."""
