"""Where a run answers a class, and where it answers "unsure"."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError
from ..validation import check_types
from .signature import with_defaults

COSTS = ("cost_false_negative", "cost_false_positive")


@with_defaults
@dataclass(frozen=True, kw_only=True)
class OperatingConfig:
    """How to choose an operating point: a threshold for two classes, and a confidence below which no class is answered.

    Attributes:
        threshold: of two classes, answer the positive one where its probability is at least this, such as 0.3
        at_recall: of two classes, take the largest threshold that recognises at least this fraction of the positive
            sequences in the validation split, such as 0.95
        cost_false_negative: cost of a positive sequence that is answered as negative; the threshold is the one of least
            cost on the validation split (default: 1, if the other cost is given)
        cost_false_positive: cost of a negative sequence that is answered as positive (default: 1, if the other cost is
            given)
        positive: which of two classes is the positive one (default: the rarer one in the training data)
        reject: answer "unsure" where the class that would be answered has a lower probability than this, such as 0.6;
            for any number of classes
    """

    threshold: float | None = None
    at_recall: float | None = None
    cost_false_negative: float | None = None
    cost_false_positive: float | None = None
    positive: str | None = None
    reject: float | None = None

    def __post_init__(self) -> None:
        check_types(self)
        for name, most in (("threshold", "below 1"), ("at_recall", "at most 1"), ("reject", "below 1")):
            value = getattr(self, name)
            if value is not None and not (0 < value < 1 or (value == 1 and most == "at most 1")):
                raise ConfigError(f"{name} must be above 0 and {most}, got {value:g}")
        for name in COSTS:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value:g}")
        if len(self.rules) > 1:
            raise ConfigError(f"give {' or '.join(self.rules)}, not both: each sets the threshold")
        if self.positive is not None and not self.rules:
            raise ConfigError("positive must come with threshold, at_recall or a cost, which refer to that class")

    @property
    def rules(self) -> tuple[str, ...]:
        """The settings that say what the threshold is: at most one, of which two costs count as one."""
        given = [name for name in ("threshold", "at_recall") if getattr(self, name) is not None]
        costs = [name for name in COSTS if getattr(self, name) is not None]
        return (*given, *costs[:1])

    @property
    def costs(self) -> tuple[float, float] | None:
        """The costs of a false negative and of a false positive; None if neither is given."""
        given = self.cost_false_negative, self.cost_false_positive
        return None if given == (None, None) else (given[0] or 1.0, given[1] or 1.0)

    @property
    def needs_validation(self) -> bool:
        """Whether the threshold is chosen on a validation split."""
        return self.at_recall is not None or self.costs is not None

    def __bool__(self) -> bool:
        """Return whether there is anything to choose."""
        return bool(self.rules) or self.reject is not None
