"""Checks of settings and of values from files, made before anything is computed with them."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import cast, get_args, get_type_hints

from .errors import ConfigError, RunError, did_you_mean
from .formatting import quoted

LARGEST = sys.float_info.max
MOST = 2**31 - 1  # of what is counted in settings: larger numbers do not fit into those of C and torch
CONFIG = "config.json"  # all that prediction needs, and the settings of the training; marks a folder as a run
SWEEP = "sweep.json"  # settings and trials; marks a folder as a sweep
CROSSVAL = "crossval.json"  # settings and results; marks a folder as a cross-validation
FOLDS = "folds"  # a folder in it: the runs 1, 2, … of its folds
REFIT = "refit"  # a folder of a sweep or a cross-validation: the run trained on all with the same settings


def is_number(value: object, least: float = -LARGEST, most: float = LARGEST) -> bool:
    """Tell whether a value is a number from ``least`` to ``most``; a whole number may be larger than any float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def is_range(value: object) -> bool:
    """Tell whether a value is two numbers, the second at least as large as the first."""
    return isinstance(value, tuple) and len(value) == 2 and all(map(is_number, value)) and value[0] <= value[1]


def check_run(*paths: Path | None, kind: str = "run", file: str = CONFIG) -> None:
    """Raise `RunError` unless each path is the folder of a run, or of another ``kind`` with its ``file``.

    Args:
        paths: folders; None is passed over.
        kind: what they are called.
        file: which marks a folder as one.
    """
    for path in paths:
        if path is not None and not (path / file).is_file():
            several = _of_many(path) if file == CONFIG else ""
            raise RunError(several or f"{path} is not a {kind} folder: it has no {file}")


def _of_many(path: Path) -> str:
    """Say which runs a folder of several holds; empty of another folder."""
    refit = f"its run trained on all, {path / REFIT}" if (path / REFIT / CONFIG).is_file() else ""
    if (path / CROSSVAL).is_file():
        return f"{path} is a cross-validation: name {refit or f'a run of it, such as {path / FOLDS}/1'}"
    if (path / SWEEP).is_file():
        return f"{path} is a sweep: name {refit or 'a run in it'}"
    return ""


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise `ConfigError` unless ``value`` is one of ``choices``."""
    if value not in choices:
        known, hint = ", ".join(map(str, choices)), did_you_mean(str(value), map(str, choices))
        raise ConfigError(f"{name} must be one of {known}, got {quoted(value)}{hint}")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise `ConfigError` unless ``value`` is at least ``least``."""
    if not value >= least:
        raise ConfigError(f"{name} must be at least {least}, got {quoted(value)}")


def check_at_most(name: str, value: float, most: float) -> None:
    """Raise `ConfigError` unless ``value`` is at most ``most``."""
    if not value <= most:
        raise ConfigError(f"{name} must be at most {most:,}, got {quoted(value)}")


def check_fraction(name: str, value: float) -> None:
    """Raise `ConfigError` unless ``value`` is a fraction of a whole that leaves some of it."""
    if not 0 <= value < 1:
        raise ConfigError(f"{name} must be at least 0 and below 1, got {value}")


def check_whole(name: str, value: object, least: int) -> None:
    """Raise `ConfigError` unless ``value`` is a whole number of at least ``least``."""
    _check_plain(name, value, int)
    check_at_least(name, cast(int, value), least)


_hints = cache(get_type_hints)  # annotations are texts, and to compile them takes longer than all else that is checked


def check_types(config: object) -> None:
    """Raise `ConfigError` unless each field of ``config`` has a value of its annotated type; floats must be finite."""
    for name, hint in _hints(cast(Hashable, type(config))).items():
        value = getattr(config, name)
        if type(None) in get_args(hint):
            if value is None:
                continue
            (hint,) = set(get_args(hint)) - {type(None)}
        if hint in (str, bool, int, float):
            _check_plain(name, value, hint)
        elif int in get_args(hint):  # or a word
            words = [word for part in get_args(hint) for word in get_args(part)]
            if value not in words and (not isinstance(value, int) or isinstance(value, bool)):
                raise ConfigError(f"{name} must be a whole number or {' or '.join(words)}, got {quoted(value)}")
        else:
            check_choice(name, value, get_args(hint))


def _check_plain(name: str, value: object, kind: type) -> None:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"{name} must be of type {kind.__name__}, got {quoted(value)}")
    if kind is float and not is_number(value):
        raise ConfigError(f"{name} must be a finite number, got {quoted(value)}")
