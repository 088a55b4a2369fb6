"""The classifier, its layers and readout, and the ways to run it."""
