"""Select the instruction sets of the kernels: all that this machine has, or those up to the one in UNROLL_ISA."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConfigError, did_you_mean

VARIABLE = "UNROLL_ISA"
ORDER = (
    "none",
    "generic",
    "avx2",
    "avx512",
    "avx512_bf16",
    "amx",
)  # a processor with one of them also has those before it


def usable_sets(word: str, available: Sequence[str]) -> tuple[str, ...]:
    """Return the sets of ``available`` up to the one named, in their given order.

    Args:
        word: a name from `ORDER`; empty for all available ones.
        available: the sets of the processor and the build.

    Raises:
        ConfigError: the name is unknown, or the set is not available.
    """
    if not word:
        return tuple(available)
    choices = [name for name in ORDER if name == "none" or name in available]
    if word not in choices:
        reason = ", which this processor or build lacks" if word in ORDER else did_you_mean(word.lower(), choices)
        raise ConfigError(
            f"{VARIABLE} must be one of {', '.join(choices)}, got {word!r}{reason}; unset it to use the best"
        )
    return tuple(name for name in available if ORDER.index(name) <= ORDER.index(word))
