"""Choose the settings that a sweep tries: a full grid, random ones, or by the Parzen estimator (TPE)."""

from __future__ import annotations

import importlib
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...config.axes import LOGARITHMIC, Range, Setting, Values, combinations, is_whole
from ...errors import ConfigError, how_to_install

Method = Literal["grid", "random", "tpe"]
TRIALS = 10  # default number of settings for random and tpe
STARTING = 10  # most settings that tpe draws at random first, and at most a third
ATTEMPTS = 20  # of tpe to propose a new setting
DIGITS = 3  # of a drawn number: more would only make names and tables longer


def plan(method: Method, axes: Mapping[str, Values], trials: int | None, seed: int) -> tuple[list[Setting], int]:
    """Return the settings known in advance, none for tpe, and the number of settings.

    Args:
        method: "grid", "random" or "tpe".
        axes: values or ranges of the settings.
        trials: number of settings; None for all of a grid, or for `TRIALS`.
        seed: of the drawing.

    Raises:
        ConfigError: a grid has a range, there are fewer settings than trials, or optuna is not installed.
    """
    endless = [f"{name} {values}" for name, values in axes.items() if isinstance(values, Range)]
    if method == "grid":
        if endless:
            raise ConfigError(f"a grid needs values, not a range, got {endless[0]}: list values, or use method random")
        if trials is not None:
            raise ConfigError(
                f"trials applies to the methods random and tpe, got {trials}: a grid tries all its settings"
            )
        settings = list(combinations(axes))
        return settings, len(settings)
    known = math.prod(_count(name, values) for name, values in axes.items())
    count = int(min(TRIALS, known)) if trials is None else trials
    if count > known:
        remedy = "give fewer, or leave it out" if endless else "leave it out, or use the grid"
        raise ConfigError(f"there are only {known} settings to try, got trials {trials}: {remedy}")
    if method == "tpe":
        optuna()
        return [], count
    return _draw(axes, count, endless != [], seed), count


def _count(name: str, values: Values) -> float:
    """Return the number of possible values of a setting."""
    if not isinstance(values, Range):
        return len(values)
    return int(values.high) - int(values.low) + 1 if is_whole(name) else math.inf


def _draw(axes: Mapping[str, Values], count: int, endless: bool, seed: int) -> list[Setting]:
    """Return ``count`` different random settings."""
    generator = random.Random(seed)
    if not endless:
        return generator.sample(list(combinations(axes)), count)
    settings = list[Setting]()
    for _ in range(1_000 * count):  # a narrow range may run out of numbers with that many digits
        setting = {name: _pick(name, values, generator) for name, values in axes.items()}
        if setting not in settings:
            settings.append(setting)
        if len(settings) == count:
            return settings
    raise ConfigError(f"there are only {len(settings)} settings to try, got trials {count}")


def _pick(name: str, values: Values, generator: random.Random) -> Any:
    if not isinstance(values, Range):
        return generator.choice(values)
    if is_whole(name):
        return generator.randint(int(values.low), int(values.high))
    if name in LOGARITHMIC:
        return _rounded(math.exp(generator.uniform(math.log(values.low), math.log(values.high))), values)
    return _rounded(generator.uniform(values.low, values.high), values)


def _rounded(number: float, within: Range) -> float:
    return min(within.high, max(within.low, float(f"{number:.{DIGITS}g}")))


def optuna() -> Any:
    """Return the library optuna.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("optuna")
    except ImportError as error:
        raise ConfigError(f"method tpe needs the library optuna: {how_to_install('sweep')}") from error


def propose(axes: Mapping[str, Values], seen: Sequence[tuple[Setting, float]], trials: int, seed: int) -> Setting:
    """Return the setting that the tree-structured Parzen estimator proposes next.

    It depends only on the arguments, so a resumed sweep continues as if it had not been interrupted.

    Args:
        axes: values or ranges of the settings.
        seen: settings that were tried, with their scores; failed ones have the worst.
        trials: number of settings in all.
        seed: of the drawing.

    Source: J. Bergstra, R. Bardenet, Y. Bengio, B. Kégl, Algorithms for hyper-parameter optimization, NeurIPS 2011; as
    in optuna.
    """
    library = optuna()
    library.logging.set_verbosity(library.logging.WARNING)
    space = {name: _distribution(library.distributions, name, values) for name, values in axes.items()}
    past = [library.trial.create_trial(params=s, distributions=space, value=accuracy) for s, accuracy in seen]
    tried = [setting for setting, _ in seen]
    for attempt in range(ATTEMPTS):
        starting = max(1, min(STARTING, trials // 3))
        sampler = library.samplers.TPESampler(seed=seed + len(seen) + 10_000 * attempt, n_startup_trials=starting)
        study = library.create_study(direction="maximize", sampler=sampler)
        study.add_trials(past)
        proposed = study.ask(space).params
        setting = {name: _as_drawn(name, proposed[name], values) for name, values in axes.items()}
        if setting not in tried:
            return setting
    # With few settings left, TPE can propose the same one repeatedly.
    generator = random.Random(seed + len(seen))
    drawn = ({name: _pick(name, values, generator) for name, values in axes.items()} for _ in range(ATTEMPTS))
    candidates = itertools.chain(drawn, combinations({name: _every(name, values) for name, values in axes.items()}))
    return next((candidate for candidate in candidates if candidate not in tried), setting)


def _every(name: str, values: Values) -> Sequence[Any] | Range:
    """Return all possible values of a setting; a range of real numbers is returned as it is."""
    return range(int(values.low), int(values.high) + 1) if isinstance(values, Range) and is_whole(name) else values


def _as_drawn(name: str, value: Any, values: Values) -> Any:
    return _rounded(value, values) if isinstance(values, Range) and not is_whole(name) else value


def _distribution(kinds: Any, name: str, values: Values) -> Any:
    if not isinstance(values, Range):
        return kinds.CategoricalDistribution(values)
    if is_whole(name):
        return kinds.IntDistribution(int(values.low), int(values.high))
    return kinds.FloatDistribution(values.low, values.high, log=name in LOGARITHMIC)
