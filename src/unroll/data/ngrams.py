"""Words as hashed character n-grams, by which a model reads words that its vocabulary lacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIZES = (3, 4, 5)  # characters of an n-gram
CHARACTERS = 22  # of a word that are read, the first
MOST = sum(CHARACTERS + 2 - size + 1 for size in SIZES)  # n-grams of a word
BASIS, PRIME = np.uint32(0x811C9DC5), np.uint32(0x01000193)  # of FNV-1a, 32 bit


def hashed_ngrams(words: Sequence[str], buckets: int) -> np.ndarray:
    """Return the n-grams of words as numbers, (words, ``MOST``) int32, 0 behind a word's last.

    N-grams are those of ``<word>``, so that beginnings and ends differ from what is inside. The number of one is 1 plus
    the FNV-1a hash of its UTF-8 bytes modulo ``buckets``.

    Source: P. Bojanowski, E. Grave, A. Joulin, T. Mikolov, Enriching word vectors with subword information, TACL 5
    (2017), section 3.2; the hash: G. Fowler, L. C. Noll, K.-P. Vo, D. Eastlake, RFC 9923.
    """
    marked = [f"<{word[:CHARACTERS]}>" for word in words]
    lengths = np.array([len(word) for word in marked], np.int64)
    points = np.frombuffer("".join(marked).encode("utf-32-le"), np.uint32)
    parts, owner = _utf8(points), np.repeat(np.arange(len(marked)), lengths)
    position = np.arange(len(points)) - np.repeat(lengths.cumsum() - lengths, lengths)
    numbers, column = np.zeros((len(marked), MOST), np.int32), np.zeros(len(marked), np.int64)
    states = np.full(len(points), BASIS)
    for size in range(1, max(SIZES) + 1):
        # The states are those of the n-grams that begin at each character, here made longer by one.
        for byte, is_used in parts:
            last, used = byte[size - 1 :], is_used[size - 1 :]
            states = states[: len(last)]
            states = np.where(used, (states ^ last) * PRIME, states)
        if size in SIZES:
            (at,) = np.nonzero(position[: len(states)] + size <= lengths[owner[: len(states)]])
            numbers[owner[at], column[owner[at]] + position[at]] = 1 + states[at] % np.uint32(buckets)
            column += np.maximum(0, lengths - size + 1)
    return numbers


def _utf8(points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the first to fourth byte of characters in UTF-8, each with whether there is such a byte."""
    head = np.select(
        [points < 0x80, points < 0x800, points < 0x10000], [points, 0xC0 | points >> 6, 0xE0 | points >> 12]
    )
    first = np.where(points < 0x10000, head, 0xF0 | points >> 18).astype(np.uint32)
    count = 1 + (points >= 0x80).astype(int) + (points >= 0x800) + (points >= 0x10000)
    rest = [
        (0x80 | points >> np.uint32(6) * np.maximum(0, count - 1 - number).astype(np.uint32) & 0x3F, count > number)
        for number in (1, 2, 3)
    ]
    return [(first, count > 0), *rest]
