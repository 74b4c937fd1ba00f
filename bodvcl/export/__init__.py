"""A trained encoder in the formats of other programs: safetensors, TorchScript, torch.export, ONNX, the Hub."""
