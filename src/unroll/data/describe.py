"""What a data set holds, counted: for `unroll explore`, before anybody trains on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from ..formatting import listed, quoted, shown
from .preparation import moments
from .separation import separating
from .sequences import SequenceData
from .splits import Splits
from .vocabulary import WordDescription, describe_words

STRANGE = 0.2  # share of unknown tokens in the test part from which it is a finding
MAJORITY = 0.8  # share of the training part's largest class, above which its accuracy says little
UNEVEN = 10  # times as many sequences in the largest class as in the smallest, from which it is a finding


@dataclass(frozen=True)
class PartDescription:
    """One part of a data set.

    Attributes:
        n: sequences
        shape: (time, features), padding included, without features that tell what is missing
        dtype: of the stored values
        counts: sequences of each class
        minimum: smallest value
        maximum: largest value
        mean: of all values
        std: deviation of all values
        lengths: how many sequences there are of each length, shortest first
        repeated: sequences that repeat an earlier one of this part
        missing: values that the source lacks; they are in none of the other figures
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
    missing: int


@dataclass(frozen=True)
class FeatureDescription:
    """A feature of sequences that are not images, over the training split.

    Attributes:
        name: of the feature; its number where the data has no names
        minimum: smallest value
        maximum: largest value
        mean: of all values
        std: deviation of all values
        missing: values that the source lacks; they are in none of the other figures
    """

    name: str
    minimum: float
    maximum: float
    mean: float
    std: float
    missing: int


@dataclass(frozen=True)
class Description:
    """A data set.

    Attributes:
        name: of the set
        source: where it was found
        kind: what a sequence is, in words
        train: the training part
        test: the test part
        features: each feature of the training part; empty for images and texts
        words: what texts are made of; None for other data
        shared: test sequences that are in the training part too
        conflicts: different sequences that occur with more than one class
        understood: what was taken for what when the data was read, in words; empty where there was no choice
        findings: what one should know before training, in words; empty if there is nothing
    """

    name: str
    source: str
    kind: str
    train: PartDescription
    test: PartDescription
    features: tuple[FeatureDescription, ...]
    words: WordDescription | None
    shared: int
    conflicts: int
    understood: str
    findings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self) | {"findings": list(self.findings)}


def describe_data(splits: Splits) -> Description:
    """Count what ``splits`` hold; values in padding are left out."""
    train_keys, test_keys = (_keys_of_content(part) for part in (splits.train, splits.test))
    labels: dict[bytes, set[int]] = {}
    for key, y in (*train_keys, *test_keys):
        labels.setdefault(key, set()).add(y)
    known = {key for key, _ in train_keys}
    shared = sum(key in known for key, _ in test_keys)
    copied = 0 if splits.val is None else sum(key in known for key, _ in _keys_of_content(splits.val))
    conflicts = sum(len(classes) > 1 for classes in labels.values())
    train = _part(splits.train, len(train_keys) - len(known))
    test = _part(splits.test, len(test_keys) - len({key for key, _ in test_keys}))
    features, words = _features(splits.train), describe_words(splits)
    findings = (
        *missing_classes(splits),
        *constant(splits),
        *_copied(shared, copied),
        *_findings(train, test, features, conflicts),
        *_of_words(words, splits.train.ngram_buckets > 0),
        *separating(splits.train),
        *notes_of(splits),
    )
    return Description(
        splits.name,
        _source(splits),
        _kind(splits.train),
        train,
        test,
        features,
        words,
        shared,
        conflicts,
        splits.understood,
        findings,
    )


def _source(splits: Splits) -> str:
    validation = "" if splits.val is None else f", with {len(splits.val):,} sequences for validation"
    return splits.source + (", of which the test part was drawn" if splits.drawn else "") + validation


def notes_of(splits: Splits) -> list[str]:
    """Say what one should know of how the parts were read."""
    return list(dict.fromkeys(splits.train.notes + splits.test.notes + (splits.val.notes if splits.val else ())))


def copies(splits: Splits) -> list[str]:
    """Say how many series or texts of the training part repeat another; an empty list if none."""
    keys = splits.train.checksums() if splits.train.kind != "images" else []
    repeated = len(keys) - len(set(keys))
    if not repeated:
        return []
    return [
        f"{repeated:,} of {len(keys):,} training sequences repeat another; equal ones are never on both sides of a cut"
    ]


def copies_across(splits: Splits) -> list[str]:
    """Say how many sequences of the test or the validation part are in the training part too; empty if none."""
    known = {key for key, _ in _keys_of_content(splits.train)}
    parts = (splits.test, splits.val)
    return _copied(*(0 if part is None else sum(key in known for key, _ in _keys_of_content(part)) for part in parts))


def _copied(test: int, val: int) -> list[str]:
    """Say how many sequences of the test and the validation part are copies of training sequences."""
    return [
        f"{_counted(count, f'{name} sequence')} also in the training part: the {name} accuracy will be too high; "
        "remove the copies"
        for name, count in (("test", test), ("validation", val))
        if count
    ]


def missing_classes(splits: Splits) -> list[str]:
    """Say which classes the training or the test part lacks, or that there is no test part; an empty list if none."""
    findings = []
    for name, part, effect in (
        ("training", splits.train, "cannot be learned"),
        ("test", splits.test, "will not be tested"),
    ):
        missing = [label for label, count in part.counts.items() if not count]
        if not len(part):
            findings.append(f"there is no {name} part: how well a model does on new sequences stays unknown")
        elif missing:
            findings.append(f"the {name} part has no sequence of {listed(missing)}, which {effect}: add some")
    return findings


def constant(splits: Splits) -> list[str]:
    """Say so if all values of the training part are the same, or none of its words is known; an empty list if not."""
    if splits.train.kind == "texts":
        known = splits.train.vocabulary_size - 1  # [UNK] is none
        return [] if known else ["no token of the training part is known: try a lower min_count"]
    values = _present(splits.train)
    if not len(values) or values.min() < values.max():
        return []
    return [f"all values are {float(values.min()):g}: there is nothing to learn from"]


def _part(data: SequenceData, repeated: int) -> PartDescription:
    low, high, mean, std = _figures(_present(data))
    lengths, texts = data.steps_of_each.tolist(), data.kind == "texts"
    return PartDescription(
        n=len(data),
        shape=(data.time, 1 if texts else data.values.shape[-1]),
        dtype="tokens" if texts else str(data.x.dtype).removeprefix("torch."),
        counts=data.counts,
        minimum=low,
        maximum=high,
        mean=mean,
        std=std,
        lengths=dict(sorted(Counter(lengths).items())),
        repeated=repeated,
        missing=0 if data.missing is None else int(data.missing.sum()),
    )


def _features(data: SequenceData) -> tuple[FeatureDescription, ...]:
    if data.kind != "series":
        return ()
    features = range(data.values.shape[-1])
    names = data.preparation.features or [str(feature) for feature in features]
    lacking = [0 if data.missing is None else int(data.missing[..., feature].sum()) for feature in features]
    return tuple(
        FeatureDescription(names[feature], *_figures(_present(data, slice(feature, feature + 1))), lacking[feature])
        for feature in features
    )


def _present(data: SequenceData, features: slice = slice(None)) -> Tensor:
    """Return the values that are neither padding nor missing, in one or two dimensions; of texts the tokens."""
    values = data.flat(data.raw[..., features])
    if data.missing is None:
        return values
    return values[~data.flat(data.missing[..., features])]


def _figures(values: Tensor) -> tuple[float, float, float, float]:
    """Return the least and the greatest value, mean and deviation; 0 where there are no values."""
    if not values.numel():
        return 0.0, 0.0, 0.0, 0.0
    mean, std = moments(values, per_feature=False)
    return float(values.min()), float(values.max()), mean.item(), std.item()


def _keys_of_content(data: SequenceData) -> list[tuple[bytes, int]]:
    """Return checksum and class of each sequence that is not empty: empty ones are alike, but say nothing."""
    empty = [False] * len(data) if data.lengths is None else (data.lengths == 0).tolist()
    return [(key, y) for key, y, none in zip(data.checksums(), data.y.tolist(), empty, strict=True) if not none]


def _kind(data: SequenceData) -> str:
    image = data.preparation.image
    if image is not None:
        colour = " in colour" if image.channels == 3 else ""
        return f"images{colour} of {image.width}×{image.height} pixels, read by {image.read}"
    if data.kind == "texts":
        return f"texts, of {data.vocabulary_size:,} different tokens"
    return "sequences" if data.lengths is None else "sequences of different lengths"


def _findings(
    train: PartDescription,
    test: PartDescription,
    features: tuple[FeatureDescription, ...],
    conflicts: int,
) -> Iterator[str]:
    for part, name in ((train, "training"), (test, "test")):
        if 0 in part.lengths:
            yield f"{_counted(part.lengths[0], 'empty sequence')} (length 0) in the {name} part"
        if part.repeated:
            yield f"{_counted(part.repeated, 'repeated sequence')} in the {name} part"
    if conflicts:
        yield f"{_counted(conflicts, 'sequence')} labelled with more than one class: look at their labels"
    still = [feature.name for feature in features if feature.std == 0]
    if still and len(still) < len(features):
        yield f"constant, so of no use: feature {listed(still)}"
    counts = {label: count for label, count in train.counts.items() if count}
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] >= UNEVEN * counts[least]:
        extremes = f"{counts[most]:,} of {shown(most)}, {counts[least]:,} of {shown(least)}"
        yield f"classes are uneven: {extremes}; look beyond the accuracy"
    yield from majority(train.counts)


def majority(counts: Mapping[str, int]) -> list[str]:
    """Say so where one class is most of the training part, and what to do; an empty list if not.

    Args:
        counts: sequences of each class.
    """
    name = max(counts, key=counts.__getitem__)
    share = counts[name] / max(1, sum(counts.values()))
    if share <= MAJORITY:
        return []
    return [
        f"{share:.1%} of the training part is {quoted(name)}, and always answering that is as accurate: train with "
        "--class-weight balanced, and choose by --metric balanced-accuracy (with --keep best, or in a sweep)"
    ]


def _of_words(words: WordDescription | None, has_ngrams: bool) -> Iterator[str]:
    if words is not None and words.unknown_test > STRANGE and not has_ngrams:
        unknown = f"{words.unknown_test:.0%} of the test part's tokens are unknown"
        yield f"{unknown}: try a lower min_count, or tokenizer word+ngrams or bpe"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
