"""The search space of a sweep: several values, or a range of numbers, for some settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args, get_type_hints

from ..errors import ConfigError, did_you_mean
from ..formatting import in_words
from .data import DataConfig
from .model import ModelConfig
from .recipes import choose_settings
from .training import TrainConfig

LOGARITHMIC = ("lr", "weight_decay")  # sampled by factors: 1 to 2 is as likely as 2 to 4
TYPES: dict[str, Any] = {**get_type_hints(ModelConfig), **get_type_hints(TrainConfig)}
SWITCH = {"true": True, "false": False}
NOT_CHOSEN = {
    "seed": "a sweep cannot choose a seed: set the number of seeds for each setting with seeds",
    "metric": "metric must be the same for all: settings are compared by it",
    "val_fraction": "val_fraction must be the same for all: accuracies on different validation sets cannot be compared",
    "val_seed": "val_seed must be the same for all: accuracies on different validation sets cannot be compared",
}


@dataclass(frozen=True)
class Range:
    """A range of numbers.

    Attributes:
        low: the lowest number
        high: the highest number
    """

    low: float
    high: float

    def __str__(self) -> str:
        """Return the range as the command line writes it."""
        return f"{self.low:g}..{self.high:g}"


Values = tuple[Any, ...] | Range
Setting = dict[str, Any]


def read_values(name: str, text: str) -> Values:
    """Return the values of a flag: one value, several separated by commas, or a range ``low..high``.

    Args:
        name: field of `ModelConfig` or `TrainConfig`.
        text: the flag's text.

    Raises:
        ConfigError: it is not of the field's type.

    Example:
        >>> read_values("hidden_size", "64,128"), read_values("lr", "1e-4..1e-2")
        ((64, 128), Range(low=0.0001, high=0.01))
    """
    low, dots, high = text.partition("..")
    if dots and _kind(name) in (int, float):
        return Range(_read(name, low), _read(name, high))
    if name == "class_weight":  # its value contains commas
        return (text,)
    return tuple(_read(name, part.strip()) for part in text.split(","))


def _kind(name: str) -> Any:
    hint = TYPES[name]
    rest = set(get_args(hint)) - {type(None)}
    return rest.pop() if type(None) in get_args(hint) else hint


def _read(name: str, text: str) -> Any:
    kind = _kind(name)
    if kind is bool:
        if text not in SWITCH:
            raise ConfigError(f"{name} must be true, false, or both separated by a comma, got {text!r}")
        return SWITCH[text]
    if kind not in (int, float):
        if int in get_args(kind) and text.isdecimal():  # or a word
            return int(text)
        return text  # the settings' class checks the name
    try:
        return kind(text)
    except ValueError:
        number = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{name} must be {number}, several with commas, or a range low..high, got {text!r}") from None


def check_axes(
    recipe: str | None, settings: Mapping[str, Any], search: Mapping[str, Sequence[Any] | Range]
) -> dict[str, Any]:
    """Return the search space, checked: each combination of the values, and of the ends of ranges, is valid.

    Args:
        recipe: the base of the settings; None for the one of the kind of data.
        settings: the same for all.
        search: values, or a range, for each setting to choose.

    Raises:
        ConfigError: a value is invalid, occurs twice, or cannot be chosen; or there is nothing to choose.
    """
    if not search:
        raise ConfigError("nothing to choose between: give a setting several values, as in --lr 1e-3,3e-3")
    axes = {name: _checked(name, values) for name, values in search.items()}
    for name in sorted(set(axes) & set(settings)):
        raise ConfigError(f"{name} is given twice: as a fixed value and as values to choose between")
    for corner in combinations(axes):
        try:
            _, chosen = choose_settings(recipe, {**settings, **corner})
        except ConfigError as error:
            raise ConfigError(
                f"{error} (in the setting {in_words(corner)})" if len(axes) > 1 else f"{error}"
            ) from error
        if chosen.train.ensemble > 1:
            raise ConfigError(
                f"a sweep trains single models: ensemble must be 1, got {chosen.train.ensemble}; choose the other "
                "settings, and train an ensemble with them"
            )
        if not chosen.train.val_fraction:
            raise ConfigError(
                "a sweep chooses by validation accuracy: val_fraction must be above 0, got 0; give --val-fraction 0.1"
            )
    return axes


def _checked(name: str, values: Sequence[Any] | Range) -> Values:
    if name in NOT_CHOSEN:
        raise ConfigError(NOT_CHOSEN[name])
    if name not in TYPES:
        hint = did_you_mean(name, {**TYPES, **asdict(DataConfig())})
        raise ConfigError(f"{name!r} is not a setting of model or training that a sweep can choose{hint}")
    if not isinstance(values, Range):
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise ConfigError(f"{name} must have a list of values or a Range to choose from, got {values!r}")
        for value in values:
            if list(values).count(value) > 1:
                raise ConfigError(f"{name} has {value} twice")
        return tuple(values)
    if _kind(name) not in (int, float):
        raise ConfigError(f"{name} cannot have a range: list its values")
    if not values.low < values.high:
        raise ConfigError(f"the range of {name} must go from a lower to a higher number, got {values}")
    if name in LOGARITHMIC and values.low <= 0:
        raise ConfigError(f"the range of {name} is searched by factors: it must start above 0, got {values}")
    if _kind(name) is int and not all(isinstance(end, int) for end in (values.low, values.high)):
        raise ConfigError(f"the range of {name} must have whole numbers as ends, got {values}")
    return values


def combinations(axes: Mapping[str, Sequence[Any] | Range]) -> Iterator[Setting]:
    """Return every combination of the values; a range contributes its two ends."""
    lists = [(values.low, values.high) if isinstance(values, Range) else values for values in axes.values()]
    return (dict(zip(axes, picked, strict=True)) for picked in itertools.product(*lists))


def is_whole(name: str) -> bool:
    """Return whether the values of a setting are integers."""
    return _kind(name) is int


def is_number(name: str) -> bool:
    """Return whether the values of a setting are numbers, so that they can be an axis."""
    return _kind(name) in (int, float)
