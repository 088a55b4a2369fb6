"""What a step computes from parameters alone: once for each scan, by torch, with torch's gradients.

The tensors that a program reads are its results. Most are the parameters themselves, of which the program reads rows,
columns or slices in place; only operations that make new numbers (a weight norm, a sigmoid of a rate) are run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..errors import NotCompiledError

Read = TypeVar("Read")

_FOREIGN = "it reads a tensor that is not the cell's: make it an attribute or a buffer of the cell"


class Call(NamedTuple):
    """A call of one of torch's operations."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _Made(NamedTuple):
    """Stands for a tensor in a recorded call: result `item` of call `call`; with call -1, parameter number `item`."""

    call: int
    item: int


class Prologue:
    """Records calls while a step is traced, then runs them again on the parameters of any cell of the same kind.

    Attributes:
        results: the tensors that a program reads, in the order of their numbers there.
        relied: numbers of the parameters whose whole numbers the program has: cells with others need another one.
    """

    def __init__(self, cell: nn.Module) -> None:
        self.paths: list[tuple[str, str, str]] = []  # of the parameters: module, dictionary, name
        self.results: list[_Made] = []
        self.shapes: list[torch.Size] = []  # of the results
        self._calls: list[Call] = []
        self._order: list[int] = []  # numbers of the calls to run
        self._alive: list[Any] = []
        self._known: dict[int, _Made] = {}  # by the address of a tensor object
        self._roots: dict[int, tuple[_Made, Tensor]] = {}  # by storage: what it was made as
        self.relied: set[int] = set()
        self._constants: dict[int, frozenset[int]] = {}  # storages that follow from whole numbers alone: of which
        self._numbers: dict[_Made, int] = {}
        for path, tensor in leaves(cell):
            made = _Made(-1, len(self.paths))
            self.paths.append(path)
            self._enter(tensor, made)
            if not (tensor.is_floating_point() or tensor.is_complex()):
                self._constants[storage_of(tensor)] = frozenset({made.item})

    def _enter(self, tensor: Tensor, made: _Made) -> None:
        self._alive.append(tensor)
        self._known.setdefault(id(tensor), made)
        storage = storage_of(tensor)
        before = self._roots.get(storage)
        if before is None or before[1].numel() < tensor.numel():
            self._roots[storage] = made, tensor

    def record(self, call: Call, given: Sequence[Tensor], result: Any) -> None:
        """Note a call on parameters alone, or on nothing."""
        for tensor in given:
            if id(tensor) not in self._known and storage_of(tensor) not in self._roots:
                raise NotCompiledError(_FOREIGN)
        number = len(self._calls)
        frozen = Call(call.function, self._frozen(call.args), self._frozen(call.kwargs))
        self._calls.append(frozen)
        constant = all(storage_of(tensor) in self._constants for tensor in given)
        of = frozenset[int]().union(*(self._constants.get(storage_of(tensor), ()) for tensor in given))
        for item, tensor in enumerate(result if isinstance(result, (tuple, list)) else (result,)):
            if isinstance(tensor, Tensor):
                if constant:
                    self._constants[storage_of(tensor)] = of
                self._enter(tensor, _Made(number, item))

    def knows(self, tensor: Tensor) -> bool:
        """Tell whether a tensor is a parameter, or a result or a view of what was recorded."""
        return storage_of(tensor) in self._roots

    def _frozen(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            made = self._known.get(id(value))
            if made is None:
                raise NotCompiledError(_FOREIGN)
            return made
        if isinstance(value, (list, tuple)):
            return type(value)(self._frozen(item) for item in value)
        if isinstance(value, dict):
            return {key: self._frozen(item) for key, item in value.items()}
        return value

    def close(self) -> None:
        """Settle which calls the results need, in order, and let go of the tensors of the trace."""
        needed = {made.call for made in self.results if made.call >= 0}
        needed |= {number for number, call in enumerate(self._calls) if _writes(call)}
        for number in range(len(self._calls) - 1, -1, -1):
            if number in needed:
                needed |= {made.call for made in _inside(self._calls[number]) if made.call >= 0}
        self._order = sorted(needed)
        for memory in (self._alive, self._known, self._roots, self._constants):
            memory.clear()

    def check_written(self, tensor: Tensor) -> None:
        """Raise `NotCompiledError` if a step writes into what belongs to the cell."""
        root = self._roots.get(storage_of(tensor))
        if root is not None and root[0].call == -1:
            name = ".".join(filter(None, (self.paths[root[0].item][0], self.paths[root[0].item][2])))
            raise NotCompiledError(f"it changes {name}, which belongs to the cell")

    def constant(self, tensor: Tensor) -> float | None:
        """Return the number that all of a tensor's are, if no parameter has made them; otherwise None."""
        storage = storage_of(tensor)
        if storage not in self._constants:
            return None
        values = tensor.reshape(-1).to(torch.float64)
        if not bool((values == values[0]).all()):
            return None
        self.relied |= self._constants[storage]
        return float(values[0])

    def is_fixed(self, tensor: Tensor) -> bool:
        """Tell whether a tensor's numbers follow from whole numbers alone, on which the program then relies."""
        of = self._constants.get(storage_of(tensor))
        if of is None:
            return False
        self.relied |= of
        return True

    def check_fixed(self, index: Tensor) -> None:
        """Raise `NotCompiledError` if a tensor that picks units follows from other than whole numbers."""
        if not self.is_fixed(index):
            raise NotCompiledError("it picks units by a parameter's value" if self.knows(index) else _FOREIGN)

    def root(self, tensor: Tensor) -> Tensor | None:
        """Return the tensor of which this one is a view, itself if it is none; None if the prologue lacks it."""
        known = self._roots.get(storage_of(tensor))
        return None if known is None else known[1]

    def tensor(self, tensor: Tensor) -> tuple[int, Tensor]:
        """Return the number of the result that has a tensor's numbers, and the place there of each of them."""
        known = self._roots.get(storage_of(tensor))
        if known is None:
            raise NotCompiledError(_FOREIGN)
        made, root = known
        if tensor.dtype != torch.float32:
            raise NotCompiledError(f"it reads a parameter in {str(tensor.dtype).removeprefix('torch.')}")
        if made not in self._numbers:
            self._numbers[made] = len(self.results)
            self.results.append(made)
            self.shapes.append(root.shape)
        places = table_for(root)
        view_of(places, root).copy_(torch.arange(root.numel()).view(root.shape))
        return self._numbers[made], view_of(places, tensor)

    def fold(self, number: int, of_parameter: Callable[[str], Read], of_call: Callable[[str, list[Any]], Read]) -> Read:
        """Describe how result `number` is made, from the parameters up.

        Args:
            number: of a result.
            of_parameter: describes a parameter by its path in the cell.
            of_call: describes a call by the operation's name and its arguments, in which tensors are described already.
        """
        known: dict[_Made, Read] = {}

        def of(made: _Made) -> Read:
            if made not in known:
                if made.call == -1:
                    module, _, name = self.paths[made.item]
                    known[made] = of_parameter(".".join(filter(None, (module, name))))
                else:
                    call = self._calls[made.call]
                    packet = getattr(call.function, "overloadpacket", call.function)
                    known[made] = of_call(packet.__name__, [argument(value) for value in call.args])
            return known[made]

        def argument(value: Any) -> Any:
            if isinstance(value, _Made):
                return of(value)
            return [argument(item) for item in value] if isinstance(value, (list, tuple)) else value

        return of(self.results[number])

    def numbers(self, cell: nn.Module) -> tuple[bytes, ...]:
        """Return the whole numbers of a cell that a program relies on.

        Raises:
            RuntimeError, TypeError: a tensor holds none that can be read, as one of torch.func's.
        """
        if not self.relied:
            return ()
        tensors = self.parameters(cell)
        return tuple(tensors[item].numpy(force=True).tobytes() for item in sorted(self.relied))

    @property
    def is_trivial(self) -> bool:
        """Whether all results are parameters as they are."""
        return all(made.call == -1 for made in self.results)

    def parameters(self, cell: nn.Module) -> list[Tensor]:
        """Return the tensors of a cell that the recorded calls begin with."""
        modules: dict[str, nn.Module] = {"": cell}
        if any(module for module, _, _ in self.paths):
            modules |= cell.named_modules(remove_duplicate=False)  # a shared module may be two with tied parameters
        return [_get(modules[module], where, name) for module, where, name in self.paths]

    def run(self, cell: nn.Module) -> list[Tensor]:
        """Return the tensors that the program reads, contiguous, with gradients to the cell's parameters."""
        parameters = self.parameters(cell)
        if self.is_trivial:
            return [parameters[made.item].contiguous() for made in self.results]
        made: dict[_Made, Any] = {_Made(-1, i): tensor for i, tensor in enumerate(parameters)}
        for number in self._order:
            function, args, kwargs = self._calls[number]
            result = function(*_thawed(args, made), **_thawed(kwargs, made))
            for item, tensor in enumerate(result if isinstance(result, (tuple, list)) else (result,)):
                made[_Made(number, item)] = tensor
        return [made[result].contiguous() for result in self.results]


def leaves(cell: nn.Module) -> Iterator[tuple[tuple[str, str, str], Tensor]]:
    """Yield the tensors that a module and its submodules hold: parameters, buffers and plain attributes."""
    for prefix, module in cell.named_modules():
        for where in ("_parameters", "_buffers", "__dict__"):
            for name, value in getattr(module, where).items():
                if isinstance(value, Tensor):
                    yield (prefix, where, name), value


def _get(module: nn.Module, where: str, name: str) -> Tensor:
    tensor: Tensor = getattr(module, where)[name]
    return tensor


def _writes(call: Call) -> bool:
    """Tell whether an operation writes in place, which counts as a result."""
    schema = getattr(call.function, "_schema", None)
    return schema is not None and schema.is_mutable


def _inside(value: Any) -> Iterator[_Made]:
    if isinstance(value, _Made):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _inside(item)
    elif isinstance(value, dict):
        yield from _inside(list(value.values()))


def _thawed(value: Any, made: dict[_Made, Any]) -> Any:
    if isinstance(value, _Made):
        return made[value]
    if isinstance(value, (list, tuple)):
        return type(value)(_thawed(item, made) for item in value)
    if isinstance(value, dict):
        return {key: _thawed(item, made) for key, item in value.items()}
    return value


def storage_of(tensor: Tensor) -> int:
    """Return the address of a tensor's storage, which its views share."""
    return tensor.untyped_storage().data_ptr()


def table_for(tensor: Tensor) -> Tensor:
    """Return room for an int64 for each number in a tensor's storage."""
    return torch.empty(tensor.untyped_storage().nbytes() // tensor.element_size(), dtype=torch.int64)


def view_of(table: Tensor, tensor: Tensor) -> Tensor:
    """Return what a table of a storage has for a tensor's numbers, of its shape."""
    return table.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
