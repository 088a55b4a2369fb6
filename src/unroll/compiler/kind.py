"""What a step's program depends on, besides the values of its parameters."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

# A cell's settings that do not change its step.
_ELSEWHERE = {"backend", "recurrent_dropout"}
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_PLAIN = (int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.device, type)


class _Itself:
    """An object that equals itself alone, kept alive, as another one could take its address."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.value is self.value


def kind_of(cell: nn.Module) -> Hashable:
    """Return what two cells share if their steps are the same program: classes, sizes, ties, plain attributes."""
    seen: dict[int, int] = {}  # tensors by the order in which they are met, so that ties show
    return tuple(_parts(cell, seen))


def _parts(module: nn.Module, seen: dict[int, int]) -> Iterator[Hashable]:
    yield type(module), module.training
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


def _frozen(value: Any, seen: dict[int, int]) -> Hashable:
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype, value.device, seen.setdefault(id(value), len(seen))
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, (tuple, list)):
        return type(value), tuple(_frozen(item, seen) for item in value)
    if isinstance(value, (set, frozenset)):
        return type(value), len(value)
    if isinstance(value, dict):
        return tuple((key, _frozen(item, seen)) for key, item in value.items())
    return _Itself(value)


def has_hooks(cell: nn.Module) -> bool:
    """Tell whether a submodule calls hooks that a program would leave out."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in cell.modules() if module is not cell)


def copied(cell: nn.Module) -> nn.Module:
    """Return a cell of the same kind with copies of all tensors, which need no gradient.

    What it does to itself does not reach the original. Attributes other than tensors and containers are shared.
    """
    return _copied(cell, {})


def _copied(module: nn.Module, known: dict[int, Any]) -> nn.Module:
    if id(module) in known:
        found: nn.Module = known[id(module)]
        return found
    new = known[id(module)] = type(module).__new__(type(module))
    new.__dict__ = dict(module.__dict__)
    for name, value in module.__dict__.items():
        if name not in _OF_EVERY_MODULE:
            new.__dict__[name] = _copied_value(value, known)
    for where in ("_parameters", "_buffers"):
        new.__dict__[where] = {
            name: None if tensor is None else _copy(tensor, known) for name, tensor in getattr(module, where).items()
        }
    new.__dict__["_modules"] = {
        name: None if child is None else _copied(child, known) for name, child in module._modules.items()
    }
    return new


def _copied_value(value: Any, known: dict[int, Any]) -> Any:
    """Copy tensors, and the containers that a step could fill."""
    if isinstance(value, Tensor):
        return _copy(value, known)
    if type(value) in (list, tuple, set):
        return type(value)(_copied_value(item, known) for item in value)
    if type(value) is dict:
        return {key: _copied_value(item, known) for key, item in value.items()}
    return value


def _copy(tensor: Tensor, known: dict[int, Any]) -> Tensor:
    if id(tensor) not in known:
        known[id(tensor)] = tensor.detach().clone()
    copy: Tensor = known[id(tensor)]
    return copy
