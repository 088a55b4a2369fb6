"""Train a classifier: the loop, its results, the fused step, the device."""
