"""The classifier and what it is made of: layers, readout, and the ways to run it."""
