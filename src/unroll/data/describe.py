"""What a data set holds, counted: for `unroll explore`, before anybody trains on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from .preparation import Scaling, valid_steps
from .sequences import SequenceData, Splits

UNEVEN = 10  # times as many sequences in the largest class as in the smallest, from which it is a finding


@dataclass(frozen=True)
class PartDescription:
    """One part of a data set.

    Attributes:
        n: sequences
        shape: (time, features), padding included
        dtype: of the stored values
        counts: sequences of each class
        minimum: smallest value
        maximum: largest value
        mean: of all values
        std: deviation of all values
        lengths: how many sequences there are of each length, shortest first
        repeated: sequences that stand in this part once more
    """

    n: int
    shape: tuple[int, int]
    dtype: str
    counts: dict[str, int]
    minimum: float
    maximum: float
    mean: float
    std: float
    lengths: dict[int, int]
    repeated: int


@dataclass(frozen=True)
class Description:
    """A data set.

    Attributes:
        name: of the set
        source: where it was found
        kind: what a sequence is, in words
        train: the training part
        test: the test part
        shared: test sequences that stand in the training part too
        conflicts: different sequences that stand there with more than one class
        findings: what one should know before training, in words; empty if there is nothing
    """

    name: str
    source: str
    kind: str
    train: PartDescription
    test: PartDescription
    shared: int
    conflicts: int
    findings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self) | {"findings": list(self.findings)}


def describe_data(splits: Splits) -> Description:
    """Count what ``splits`` hold; values in padding are left out."""
    train_keys, test_keys = list(_keys(splits.train)), list(_keys(splits.test))
    labels: dict[bytes, set[int]] = {}
    for key, y in zip(train_keys + test_keys, splits.train.y.tolist() + splits.test.y.tolist(), strict=True):
        labels.setdefault(key, set()).add(y)
    known = set(train_keys)
    shared = sum(key in known for key in test_keys)
    conflicts = sum(len(found) > 1 for found in labels.values())
    train = _part(splits.train, len(train_keys) - len(known))
    test = _part(splits.test, len(test_keys) - len(set(test_keys)))
    findings = (*missing_classes(splits), *_findings(train, test, shared, conflicts))
    return Description(splits.name, splits.source, _kind(splits.train), train, test, shared, conflicts, findings)


def missing_classes(splits: Splits) -> list[str]:
    """Say which classes the training or the test part lacks; an empty list if none."""
    findings = []
    for name, part, effect in (
        ("training", splits.train, "cannot be learned"),
        ("test", splits.test, "will not be tested"),
    ):
        missing = [label for label, count in part.counts.items() if not count]
        if missing:
            findings.append(f"the {name} part has no sequence of {', '.join(missing)}, which {effect}: add some")
    return findings


def _part(data: SequenceData, repeated: int) -> PartDescription:
    values = valid_steps(data.x, data.lengths)
    scaling = Scaling.of("standard", data.x, data.lengths)
    lengths = [data.x.shape[1]] * len(data) if data.lengths is None else data.lengths.tolist()
    return PartDescription(
        n=len(data),
        shape=(data.x.shape[1], data.x.shape[2]),
        dtype=str(data.x.dtype).removeprefix("torch."),
        counts=data.counts,
        minimum=float(values.min()) if len(values) else 0.0,
        maximum=float(values.max()) if len(values) else 0.0,
        mean=scaling.mean,
        std=scaling.std,
        lengths=dict(sorted(Counter(lengths).items())),
        repeated=repeated,
    )


def _keys(data: SequenceData) -> Iterator[bytes]:
    """Yield a checksum of each sequence, without its padding."""
    x = data.x.numpy()
    lengths = None if data.lengths is None else data.lengths.tolist()
    for index in range(len(data)):
        sequence = x[index] if lengths is None else x[index, : lengths[index]]
        yield hashlib.blake2b(sequence.tobytes(), digest_size=16).digest()


def _kind(data: SequenceData) -> str:
    image = data.preparation.image
    if image:
        return f"images of {image.width}×{image.height} pixels, read by {image.read}"
    return "sequences" if data.lengths is None else "sequences of different lengths"


def _findings(train: PartDescription, test: PartDescription, shared: int, conflicts: int) -> Iterator[str]:
    for part, name in ((train, "training"), (test, "test")):
        if 0 in part.lengths:
            yield f"{part.lengths[0]:,} sequences of the {name} part are empty (length 0)"
        if part.repeated:
            yield f"{part.repeated:,} sequences of the {name} part stand in it once more"
    if shared:
        yield f"{shared:,} test sequences stand in the training part too: the test accuracy will flatter"
    if conflicts:
        yield f"{conflicts:,} different sequences stand there with more than one class: look at their labels"
    there = {label: count for label, count in train.counts.items() if count}
    most, least = max(there, key=there.__getitem__), min(there, key=there.__getitem__)
    if there[most] >= UNEVEN * there[least]:
        yield f"classes are uneven: {there[most]:,} of {most}, {there[least]:,} of {least}; look beyond the accuracy"
    if train.minimum == train.maximum:
        yield f"all values are {train.minimum:g}: there is nothing to learn from"
