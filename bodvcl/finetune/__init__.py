"""Training with labels from a checkpoint: fine-tuning and linear evaluation, and their tests."""
