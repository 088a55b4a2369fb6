"""What a step's program depends on, besides the values of its parameters."""

from __future__ import annotations

import random
import sys
from argparse import Namespace
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from enum import Enum
from functools import cached_property, partial
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as every

# A cell's settings that do not change its step.
_ELSEWHERE = {"backend", "recurrent_dropout"}
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
MOST_ITEMS = 1000  # of a container that are looked at, at each scan
MOST_DEPTH = 3  # of objects in objects, likewise
MOST_AROUNDS = 256  # classes and functions of which it is kept what they read
_BY_ANY_NAME = frozenset({"getattr", "vars", "__dict__", "__getattribute__", "attrgetter"})  # how code reads attributes
_PLAIN = (int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.device, type, Enum)


class _Itself:
    """An object that equals itself alone, kept alive, as another one could take its address."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, value: object) -> bool:
        return isinstance(value, _Itself) and value.value is self.value


class _Unseen(NamedTuple):
    """Stands for what a step may read and what is not looked at, so that its changes would go unnoticed."""

    name: str  # of the attribute or the variable that holds it


def unseen_in(kind: Hashable) -> str:
    """Return the name of what a step may read and its kind does not have; empty if there is none."""
    if isinstance(kind, _Unseen):
        return kind.name
    return next(filter(None, map(unseen_in, kind)), "") if isinstance(kind, (tuple, frozenset)) else ""


class _Look:
    """What is known while a cell is looked at.

    Attributes:
        tensors: numbers of the tensors, by their addresses, in the order in which they are met, so that ties show
        names: that the cell's code reads
        of: name of the attribute, or the variable, that is looked at
    """

    def __init__(self, cell: nn.Module | None) -> None:
        self.tensors: dict[int, int] = {}
        self.names = _Names(cell)
        self.of = ""

    def unseen(self) -> _Unseen | None:
        """Return what stands for a value that is not looked at; None where no step reads its name."""
        return _Unseen(self.of) if self.names.reads(self.of) else None


def kind_of(cell: nn.Module) -> tuple[Hashable, ...]:
    """Return what two cells share if their steps are the same program, apart from whole numbers in tensors.

    That is classes with the code of their methods, sizes, ties, attributes, also of classes and of objects, and the
    variables and functions outside of them that methods read. The whole numbers that a program relies on are those of
    `unroll.compiler.prologue.Prologue.relied`.
    """
    return has_global_hooks(), *_parts(cell, _Look(cell))


def changed(before: tuple[Hashable, ...], after: tuple[Hashable, ...]) -> str:
    """Return the name of an attribute or a variable that differs between two kinds of one cell; empty if none does."""
    for old, new in zip(before, after, strict=False):
        if old != new:
            return str(old[0]) if isinstance(old, tuple) and isinstance(old[0], str) else "an attribute"
    return "" if len(before) == len(after) else "an attribute"


class _Names:
    """The names that the code of a cell reads, made out where they are asked for: few cells have what needs them."""

    def __init__(self, cell: nn.Module | None) -> None:
        self.modules = [] if cell is None else [*cell.modules()]

    @cached_property
    def _of_functions(self) -> frozenset[str]:
        """Those that functions in attributes of modules read."""
        names: frozenset[str] = frozenset()
        for module in self.modules:
            for value in module.__dict__.values():
                if isinstance(value, FunctionType):
                    names |= _around(value).names
        return names

    @cached_property
    def all(self) -> frozenset[str]:
        """Those of submodules, and of functions in attributes, too."""
        names = self._of_functions
        for module in self.modules:
            names |= _around(type(module)).names
        return names

    @cached_property
    def of_steps(self) -> frozenset[str]:
        """Those that `step`, `initial_state`, and what these call, read."""
        names = self._of_functions
        for module in self.modules:
            reader = _Reader(None)
            for method in ("step", "initial_state", "forward"):
                if (function := _function(getattr(type(module), method, None))) is not None:
                    reader.follow(function, type(module))
            names |= reader.around().names
        return names

    def reads(self, name: str) -> bool:
        """Tell whether a step may read an attribute or a variable."""
        return name in self.of_steps

    def __contains__(self, name: str) -> bool:
        return name in self.all

    def __or__(self, names: frozenset[str]) -> frozenset[str]:
        return self.all | names


def _parts(module: nn.Module, look: _Look) -> Iterator[Hashable]:
    around = _around(type(module))
    yield type(module), module.training
    yield from around.kind(look)
    for name, value in module.__dict__.items():
        if name not in _OF_EVERY_MODULE and name not in _ELSEWHERE:
            look.of = name
            yield name, _frozen(value, look, look.names)
    for where in ("_parameters", "_buffers"):  # of the cell without one of them, as with recurrent dropout, too
        for name, tensor in getattr(module, where).items():
            yield name, where, _frozen(tensor, look)
    for name, child in module._modules.items():
        yield name
        if child is not None:
            yield is_hooked(child)
            yield from _parts(child, look)


class _AnyName(frozenset[str]):
    """Names that code reads, which may read others by names that it makes."""

    def __contains__(self, name: object) -> bool:
        return True

    def __or__(self, names: AbstractSet[Any]) -> _AnyName:
        return _AnyName(frozenset.__or__(self, names))

    __ror__ = __or__


class _Around(NamedTuple):
    """What code reads outside of a cell.

    Attributes:
        values: mappings, and names in them.
        codes: likewise of functions, with the code that was followed.
        sizes: mappings of classes, and how many names they had.
        names: all names that the code reads, those of attributes among them.
    """

    values: tuple[tuple[Any, str], ...]
    codes: tuple[tuple[Any, str, CodeType], ...]
    sizes: tuple[tuple[Any, int], ...]
    names: frozenset[str]

    def is_current(self) -> bool:
        """Tell whether the same functions would be followed now."""
        return all(len(holder) == size for holder, size in self.sizes) and all(
            (function := _function(holder.get(name))) is not None and function.__code__ is code
            for holder, name, code in self.codes
        )

    def kind(self, look: _Look, depth: int = 0) -> Iterator[Hashable]:
        """Yield what the code depends on."""
        for holder, name in self.values:
            if depth == 0:
                look.of = name
            yield name, _frozen(holder.get(name), look, self.names, depth)
        for _, name, code in self.codes:
            yield name, _Itself(code)


_arounds: dict[type | FunctionType, _Around] = {}


def _around(root: type | FunctionType) -> _Around:
    """Return what a class's methods read, or a function."""
    known = _arounds.get(root)
    if known is None or not known.is_current():
        if len(_arounds) >= MOST_AROUNDS:
            _arounds.clear()
        known = _arounds[root] = _Reader(root).around()
    return known


class _Closure:
    """The variables of a function that belong to the functions around it, as a mapping."""

    def __init__(self, function: FunctionType) -> None:
        self.cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))

    def __contains__(self, name: str) -> bool:
        return name in self.cells

    def get(self, name: str) -> Any:
        try:
            return self.cells[name].cell_contents
        except ValueError:  # it has no value yet
            return None


class _Reader:
    """Follows the functions that a class's methods call, or a function."""

    def __init__(self, root: type | FunctionType | None) -> None:
        self.values: list[tuple[Any, str]] = []
        self.codes: list[tuple[Any, str, CodeType]] = []
        self.sizes: list[tuple[Any, int]] = []
        self.names: set[str] = set()
        self.met: set[tuple[int, str]] = set()
        self.followed: list[Any] = []  # kept, so that no other object takes their addresses
        if isinstance(root, FunctionType):
            self.read(root)
        for base in root.__mro__ if isinstance(root, type) else ():
            if not _is_library(base.__module__):
                holder = vars(base)
                self.followed.append(holder)
                self.sizes.append((holder, len(holder)))
                for name in holder:
                    if name != "__init__" and not name.startswith("_abc_"):
                        self.note(holder, name, ())

    def follow(self, function: FunctionType, owner: type) -> None:
        """Read a method of a class, and the methods and properties whose names it reads."""
        before = set(self.names)
        self.read(function)
        for name in self.names - before:
            method = _function(getattr(owner, name, None))
            if method is not None and method not in self.followed:
                self.follow(method, owner)

    def around(self) -> _Around:
        names = _AnyName(self.names) if self.names & _BY_ANY_NAME else frozenset(self.names)
        return _Around(tuple(self.values), tuple(self.codes), tuple(self.sizes), names)

    def note(self, holder: Any, name: str, names: Sequence[str]) -> None:
        """Note a name that is read; ``names`` are all that the code reads, so perhaps attributes of its value."""
        if name not in holder or (id(holder), name) in self.met:
            return
        self.met.add((id(holder), name))
        value = holder.get(name)
        if function := _function(value):
            if not _is_library(function.__module__):
                self.codes.append((holder, name, function.__code__))
                self.read(function)
        elif name.startswith("__"):
            return
        elif isinstance(value, ModuleType):
            if not _is_library(value.__name__):
                for attribute in names:
                    self.note(vars(value), attribute, names)
        else:
            self.values.append((holder, name))
            if isinstance(value, type) and not _is_library(value.__module__) and not issubclass(value, nn.Module):
                holder = vars(value)
                self.followed.append(holder)
                for attribute in names:
                    self.note(holder, attribute, names)

    def read(self, function: FunctionType) -> None:
        if function in self.followed or _is_library(function.__module__):
            return
        self.followed.append(function)
        codes = [function.__code__]
        for code in codes:
            codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        names = [name for code in codes for name in code.co_names]
        self.names.update(names)
        for name in names:
            self.note(function.__globals__, name, names)
        closure = _Closure(function)
        self.followed.append(closure)
        for name in closure.cells:
            self.note(closure, name, names)


def _function(value: object) -> FunctionType | None:
    """Return the function that a value in a class or a module is, if it is one."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    elif isinstance(value, cached_property):
        value = value.func
    return value if isinstance(value, FunctionType) else None


def _is_library(module: str | None) -> bool:
    if module is None:
        return True
    root = module.split(".")[0]
    return root in ("torch", "unroll", "numpy") or (root in sys.stdlib_module_names and root != "__main__")


def _frozen(value: Any, look: _Look, names: AbstractSet[str] | _Names = frozenset(), depth: int = 0) -> Hashable:
    """Return a value in a form that can be compared.

    Args:
        value: of any kind.
        look: see `kind_of`.
        names: which attributes of objects count (default none).
        depth: in how many objects it is.
    """
    if isinstance(value, Tensor):
        number = look.tensors.setdefault(id(value), len(look.tensors))
        return tuple(value.shape), value.stride(), value.dtype, value.device, number
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, (tuple, list, deque, set, frozenset, dict)) and len(value) > MOST_ITEMS:
        return type(value), len(value), _Itself(value), look.unseen()
    if isinstance(value, (tuple, list, deque)):
        return type(value), tuple(_frozen(item, look, names, depth) for item in value)
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(_frozen(item, look, names, depth) for item in value)
    if isinstance(value, dict):
        return tuple((key, _frozen(item, look, names, depth)) for key, item in value.items())
    if type(value).__module__ == "numpy" and hasattr(value, "tobytes"):
        content = value.tobytes() if value.size <= MOST_ITEMS else (_Itself(value), look.unseen())
        return type(value), str(value.dtype), value.shape, content
    return _Itself(value), *_inside(value, look, names, depth)


def _inside(value: Any, look: _Look, names: AbstractSet[str] | _Names, depth: int) -> Iterator[Hashable]:
    """Yield what a step may read of an object or of a function, to some depth."""
    if isinstance(value, nn.Module) or (depth >= MOST_DEPTH and _is_library(type(value).__module__)):
        return
    if depth >= MOST_DEPTH:
        yield look.unseen()
        return
    if isinstance(value, FunctionType):
        if not _is_library(value.__module__):
            yield _Itself(value.__code__)
            yield from _around(value).kind(look, depth + 1)
    elif isinstance(value, MethodType):
        yield from (_frozen(part, look, names, depth + 1) for part in (value.__func__, value.__self__))
    elif isinstance(value, partial):
        yield from (_frozen(part, look, names, depth) for part in (value.func, value.args, value.keywords))
    elif isinstance(value, (SimpleNamespace, Namespace)) or not _is_library(type(value).__module__):
        around = _around(type(value))
        yield from around.kind(look, depth + 1)
        for name, item in _attributes(value):
            if name in names or name in around.names:
                yield name, _frozen(item, look, names | around.names, depth + 1)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an object, those in slots too."""
    yield from getattr(value, "__dict__", {}).items()
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield name, getattr(value, name, None)


@contextmanager
def neutral() -> Iterator[None]:
    """Run a cell as if the caller had set nothing: no autocast, inference mode or hooks; random state is restored.

    It runs in one thread, as so little work would wait for a second one more than it gains.
    """
    threads, python, numpy = torch.get_num_threads(), random.getstate(), sys.modules.get("numpy.random")
    state = None if numpy is None else numpy.get_state()
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
        random.setstate(python)
        if numpy is not None:
            numpy.set_state(state)


def has_hooks(cell: nn.Module) -> bool:
    """Tell whether a submodule calls hooks that a program would leave out."""
    return has_global_hooks() or any(is_hooked(module) for module in cell.modules() if module is not cell)


def has_global_hooks() -> bool:
    """Tell whether all modules call hooks."""
    return bool(
        every._global_forward_hooks
        or every._global_forward_pre_hooks
        or every._global_backward_hooks
        or every._global_backward_pre_hooks
    )


def is_hooked(module: nn.Module) -> bool:
    """Tell whether a module calls hooks of its own."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def drawn() -> Hashable:
    """Return how far the global random number generators of Python and NumPy are."""
    numpy = sys.modules.get("numpy.random")
    if numpy is None:
        return random.getstate()
    state = numpy.get_state(legacy=False)["state"]
    return random.getstate(), tuple((name, _frozen(value, _Look(None))) for name, value in state.items())


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
