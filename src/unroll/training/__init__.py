"""Training a classifier: the loop, its results, the fused step, and where it is computed."""
