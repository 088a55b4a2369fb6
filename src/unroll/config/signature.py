"""Let functions take the fields of a dataclass as parameters, so that each field is declared once.

Type checkers see the dataclass's constructor in place of the function's own parameters; `inspect.signature`, `help` and
the documentation get names, types, defaults and help from its fields.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from textwrap import fill
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, get_type_hints, overload

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class _Decorator(Protocol[P]):
    @overload
    def __call__(self, function: Callable[[Any], R], /) -> Callable[P, R]: ...
    @overload
    def __call__(self, function: Callable[[S, Any], R], /) -> Callable[Concatenate[S, P], R]: ...


def takes(arguments: Callable[P, object]) -> _Decorator[P]:
    """Return a decorator that makes a function of one dataclass value take the fields of that dataclass instead.

    Args:
        arguments: the dataclass, whose help is put into the docstring as by `documented`.
    """
    kind: Any = arguments

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = list(inspect.signature(function).parameters.values())[:-1]  # of a method: self

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args[: len(own)], kind(*args[len(own) :], **kwargs))

        hints = get_type_hints(kind)
        taken = [
            parameter.replace(annotation=hints[name]) for name, parameter in inspect.signature(kind).parameters.items()
        ]
        returned = inspect.signature(function, eval_str=True).return_annotation
        call.__signature__ = inspect.Signature([*own, *taken], return_annotation=returned)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in taken} | {"return": returned}
        kind.__init__.__qualname__ = function.__qualname__  # a TypeError names what was called
        return documented(kind)(call)

    return cast(_Decorator[P], decorate)


def documented(arguments: type) -> Callable[[T], T]:
    """Return a decorator that makes a docstring's line ``{arguments}`` a section "Args" about a dataclass's fields."""

    def decorate(value: T) -> T:
        def section(line: re.Match[str]) -> str:
            entry, more = (f"{line[1]}{' ' * deeper}" for deeper in (4, 8))
            lines = (fill(f"{entry}{name}: {text}.", 120, subsequent_indent=more) for name, text in helps.items())
            return "\n".join([f"{line[1]}Args:", *lines])

        helps = help_of(arguments)
        value.__doc__ = re.sub(r"^( *)\{arguments\}$", section, value.__doc__ or "", flags=re.MULTILINE)
        return value

    return decorate


def help_of(config: type) -> dict[str, str]:
    """Return the help of each field that a dataclass is made from, as it and its bases document it."""
    texts = dict[str, str]()
    for kind in reversed(config.__mro__):
        _, _, entries = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")
        for name, text in re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", entries, re.MULTILINE):
            texts[name] = " ".join(text.split())
    return {name: texts[name] for name in inspect.signature(config).parameters if name in texts}


def with_defaults(config: type[T]) -> type[T]:
    """Add to the help of each field of a dataclass its default; where that is None, the help says what it means.

    A field of a base whose default is another here gets the help of the base, with the new default.
    """
    own, doc = vars(config).get("__annotations__", {}), config.__doc__ or ""
    for field in fields(cast(Any, config)):
        if field.default in (None, MISSING):
            continue
        entry = re.compile(rf"^( *){field.name}: .+(?:\n\1 +.+)*", re.MULTILINE)
        if field.init and field.name in own and not entry.search(doc):
            text = re.sub(r" \(default [^()]*\)$", "", help_of(config)[field.name])
            doc = f"{doc.rstrip()}\n        {field.name}: {text}\n    "
        doc = entry.sub(rf"\g<0> (default {field.default})", doc, count=1)
    config.__doc__ = doc
    return config
