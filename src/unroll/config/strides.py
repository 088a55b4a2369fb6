"""The strides of two convolutions, of which one follows the other."""

from __future__ import annotations

from ..errors import ConfigError

BOTH_STRIDES = (9, 5)  # at most, as long as the windows of each, so that these leave no step out


def split(stride: int) -> tuple[int, int]:
    """Return the strides of both convolutions, as equal as possible, the first the larger where they differ.

    Raises:
        ConfigError: there are none.

    Example:
        >>> split(12)
        (4, 3)
    """
    first, second = BOTH_STRIDES
    pairs = [(a, b) for b in range(1, second + 1) for a in range(1, first + 1) if a * b == stride]
    if not pairs:
        raise ConfigError(
            f"stem_stride must be the product of a number up to {first} and one up to {second}, got {stride}: "
            f"try {_near(stride)}"
        )
    return min(pairs, key=lambda pair: (max(pair), -pair[0]))


def _near(stride: int) -> int:
    first, second = BOTH_STRIDES
    products = sorted({a * b for a in range(1, first + 1) for b in range(1, second + 1)})
    return min(products, key=lambda product: abs(product - stride))
