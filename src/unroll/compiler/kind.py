"""What a step's program depends on, besides the values of its parameters."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

# A cell's settings that do not change its step.
_ELSEWHERE = {"backend", "recurrent_dropout"}
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
MOST_ITEMS = 1000  # of a container that are looked at, at each scan
_PLAIN = (int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.device, type)


class _Itself:
    """An object that equals itself alone, kept alive, as another one could take its address."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, value: object) -> bool:
        return isinstance(value, _Itself) and value.value is self.value


def kind_of(cell: nn.Module) -> tuple[Hashable, ...]:
    """Return what two cells share if their steps are the same program.

    That is classes, sizes, ties, plain attributes, also of classes, and the plain global variables that methods read.
    """
    seen: dict[int, int] = {}  # tensors by the order in which they are met, so that ties show
    return tuple(_parts(cell, seen))


def changed(before: tuple[Hashable, ...], after: tuple[Hashable, ...]) -> str:
    """Return the name of an attribute or a variable that differs between two kinds of one cell; empty if none does."""
    for old, new in zip(before, after, strict=False):
        if old != new:
            return str(old[0]) if isinstance(old, tuple) and isinstance(old[0], str) else "an attribute"
    return "" if len(before) == len(after) else "an attribute"


def _parts(module: nn.Module, seen: dict[int, int]) -> Iterator[Hashable]:
    yield type(module), module.training
    for holder, name in _around(type(module)):  # type: ignore[arg-type]
        yield name, _frozen(holder.get(name), seen)
    for name, value in module.__dict__.items():
        if name not in _OF_EVERY_MODULE and name not in _ELSEWHERE:
            yield name, _frozen(value, seen)
    for tensors in (module._parameters, module._buffers):
        for name, tensor in tensors.items():
            yield name, _frozen(tensor, seen)
    for name, child in module._modules.items():
        yield name
        if child is not None:
            yield bool(child._forward_hooks or child._forward_pre_hooks)
            yield from _parts(child, seen)


@lru_cache(maxsize=256)
def _around(kind: type) -> tuple[tuple[Any, str], ...]:
    """Return where the plain attributes of a class are, and the plain global variables that its methods read."""
    watched: dict[tuple[int, str], tuple[Any, str]] = {}
    met: set[CodeType] = set()

    def note(holder: Any, name: str) -> None:
        value = holder.get(name)
        if value is not None and isinstance(value, (*_PLAIN, tuple, list)):
            watched.setdefault((id(holder), name), (holder, name))
        elif isinstance(value, FunctionType):
            read(value)

    def read(function: FunctionType) -> None:
        codes = [function.__code__]
        if codes[0] in met or _is_library(function.__module__):
            return
        met.add(codes[0])
        for code in codes:
            codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
            for name in code.co_names:
                note(function.__globals__, name)

    for base in kind.__mro__:
        if not _is_library(base.__module__):
            for name, value in vars(base).items():
                if isinstance(value, FunctionType):
                    read(value)
                elif not name.startswith("__"):
                    note(vars(base), name)
    return tuple(watched.values())


def _is_library(module: str | None) -> bool:
    return module is None or module.split(".")[0] in ("torch", "unroll", "abc", "builtins", "typing")


def _frozen(value: Any, seen: dict[int, int]) -> Hashable:
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype, value.device, seen.setdefault(id(value), len(seen))
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, (tuple, list, deque, set, frozenset, dict)) and len(value) > MOST_ITEMS:
        return type(value), len(value), _Itself(value)
    if isinstance(value, (tuple, list, deque)):
        return type(value), tuple(_frozen(item, seen) for item in value)
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(_frozen(item, seen) for item in value)
    if isinstance(value, dict):
        return tuple((key, _frozen(item, seen)) for key, item in value.items())
    return _Itself(value)


@contextmanager
def neutral() -> Iterator[None]:
    """Run a cell as if the caller had set nothing: no autocast, inference mode or hooks; random state is restored.

    It runs in one thread, as so little work would wait for a second one more than it gains.
    """
    threads = torch.get_num_threads()
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
    torch.set_num_threads(1)
    try:
        with (
            torch.inference_mode(False),
            torch.autocast("cpu", enabled=False),
            torch.random.fork_rng(devices=[]),
            hooks,
        ):
            yield
    finally:
        torch.set_num_threads(threads)


def has_hooks(cell: nn.Module) -> bool:
    """Tell whether a submodule calls hooks that a program would leave out."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in cell.modules() if module is not cell)


def copied(cell: nn.Module) -> nn.Module:
    """Return a cell of the same kind with copies of all tensors, which need no gradient.

    What it does to itself does not reach the original: lists, dictionaries and sets are copies too. Attributes of other
    classes are shared.
    """
    return _copied(cell, {})


def _copied(module: nn.Module, known: dict[int, Any]) -> nn.Module:
    if id(module) in known:
        copy: nn.Module = known[id(module)]
        return copy
    new = known[id(module)] = type(module).__new__(type(module))
    new.__dict__ = dict(module.__dict__)
    for name, value in module.__dict__.items():
        if name not in _OF_EVERY_MODULE:
            new.__dict__[name] = _copy(value, known)
    for where in ("_parameters", "_buffers"):
        new.__dict__[where] = {
            name: None if tensor is None else _copy(tensor, known) for name, tensor in getattr(module, where).items()
        }
    new.__dict__["_modules"] = {
        name: None if child is None else _copied(child, known) for name, child in module._modules.items()
    }
    return new


def _copy(value: Any, known: dict[int, Any]) -> Any:
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, Tensor):
        known[id(value)] = value.detach().clone()
        return known[id(value)]
    if type(value) in (list, tuple, set, deque):
        return type(value)(_copy(item, known) for item in value)
    if type(value) in (dict, OrderedDict):
        return type(value)((key, _copy(item, known)) for key, item in value.items())
    return value
