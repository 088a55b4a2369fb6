"""From a cell's `step` to a program for the kernels: trace, graph, gradients, plan."""
