"""A trained encoder in the formats of other programs: safetensors, PyTorch, ONNX, the Hub."""
