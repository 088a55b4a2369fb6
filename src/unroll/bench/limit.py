"""Measure the limit: how fast this machine multiplies float32 matrices with torch's own product."""

from __future__ import annotations

import torch

from .clock import Contender, with_threads

SIZE = 1024  # rows and columns, large enough for the full rate
LIMIT = "torch.mm"


def product() -> Contender:
    """Return the product of two square matrices as a contender."""
    a, b, c = (torch.rand(SIZE, SIZE) for _ in range(3))
    return Contender(LIMIT, with_threads(lambda: torch.mm(a, b, out=c)), flops=2.0 * SIZE**3)
