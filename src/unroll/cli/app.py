"""The program, and the flags that commands share: the fields of the settings' dataclasses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args, get_type_hints

from cyclopts import App, Parameter

from ..config import DataConfig, ModelConfig, TrainConfig
from ..config.data import TABLE
from ..errors import ConfigError, did_you_mean


def whole_number(_: Any, tokens: Sequence[Any]) -> int:
    """Convert strictly: cyclopts would round 1.5."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"expected a whole number, got {tokens[0].value!r}") from None


def number_or_word(_: Any, tokens: Sequence[Any]) -> int | str:
    """Convert a whole number; the settings' class checks words."""
    text = str(tokens[0].value)
    return int(text) if text.isdecimal() else text


def _flags(config: type, only: Sequence[str] = ()) -> Any:
    """Return a dataclass with the fields of ``config``, None by default: the recipe sets what is not given.

    Args:
        config: the settings.
        only: names of the fields to include (default: all).
    """
    hints = get_type_hints(config)
    wanted: list[tuple[str, Any, Any]] = []
    for field in fields(config):
        if only and field.name not in only:
            continue
        kind = hints[field.name] | None
        if int in get_args(kind):
            kind = Annotated[kind, Parameter(converter=whole_number if kind == int | None else number_or_word)]
        wanted.append((field.name, kind, None))
    # cyclopts ignores the fields of classes of standard modules, and make_dataclass would use "types".
    made = make_dataclass(f"{config.__name__}Flags", wanted, namespace={"__module__": __name__})
    made.__doc__ = config.__doc__
    return Annotated[made | None, Parameter(name="*", group=config.__name__.removesuffix("Config"))]


def _lists(config: type) -> Any:
    """Return a dataclass as `_flags` does, but with strings as values: each may hold several values or a range."""
    hints = get_type_hints(config)
    wanted: list[tuple[str, Any, Any]] = []
    for field in fields(config):
        kind = Literal["true", "false"] if hints[field.name] is bool else hints[field.name]
        # The type is only for the help: the value is a str, and pydantic checks that if it is imported.
        wanted.append((field.name, Annotated[kind | str | None, Parameter(converter=_text, n_tokens=1)], None))
    made = make_dataclass(f"{config.__name__}Lists", wanted, namespace={"__module__": __name__})
    made.__doc__ = config.__doc__
    return Annotated[made | None, Parameter(name="*", group=config.__name__.removesuffix("Config"))]


def _text(_: Any, tokens: Sequence[Any]) -> str:
    return str(tokens[0].value)


if TYPE_CHECKING:
    ModelLists: TypeAlias = Any
    TrainLists: TypeAlias = Any
    DataFlags: TypeAlias = Any
    TableFlags: TypeAlias = Any
    ModelFlags: TypeAlias = Any
    TrainFlags: TypeAlias = Any
else:
    DataFlags, ModelFlags, TrainFlags = _flags(DataConfig), _flags(ModelConfig), _flags(TrainConfig)
    TableFlags = _flags(DataConfig, TABLE)
    ModelLists, TrainLists = _lists(ModelConfig), _lists(TrainConfig)

app = App(
    name="unroll",
    help="Train, evaluate and use recurrent sequence classifiers.",
    version=lambda: __import__("unroll").__version__,
    suppress_keyboard_interrupt=False,
)
Json = Annotated[bool, Parameter(negative="")]
DATA = "mnist-sample"  # the default data set


def import_user_cell(cell: str | None) -> None:
    """Import the module of a user's cell, module:Class; the current folder is searched too."""
    if cell and ":" in cell:
        from ..cells import import_cell

        # Last, so that no file in the folder shadows an installed module.
        sys.path.append(str(Path.cwd()))
        import_cell(cell)


def refuse_options(words: Sequence[str | Path], command: str) -> None:
    """Raise `ConfigError` if a word for which ``-`` may be given, standard input, looks like an unknown option.

    Args:
        words: as given.
        command: its name.
    """
    for word in map(str, words):
        if word.startswith("-") and word != "-":
            known = [name for flag in app[command].assemble_argument_collection() for name in flag.names]
            raise ConfigError(f"unknown option {word}; a file of that name is ./{word}{did_you_mean(word, known)}")


def given(flags: Any) -> dict[str, Any]:
    """Return the flags that were given, by name."""
    return {name: value for name, value in asdict(flags).items() if value is not None} if flags else {}


def has_settings(settings: dict[str, Any]) -> bool:
    """Return whether there are settings besides a user's cell, which an existing run needs too."""
    return bool(set(settings) - {"cell"}) or ":" not in settings.get("cell", ":")
