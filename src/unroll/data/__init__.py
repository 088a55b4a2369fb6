"""Data sets: compact tensors with everything that turns them into model input."""
