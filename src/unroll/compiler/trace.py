"""Record a cell's `step` as a graph: it is run once on a small batch, while a dispatch mode watches torch's operations.

What torch computes and what the graph says are kept side by side: for each storage that depends on the input or the
state, a table says which unit of which node each of its numbers is. Views need no handling then, as they are views of
the same storage, and what is written in place is written into the table. What depends on parameters alone is not part
of the graph; see `unroll.compiler.prologue`.
"""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import NotCompiledError
from .graph import Graph, Matrix, Node, Vector
from .operations import POINTWISE
from .prologue import Call, Prologue, storage_of, table_for, view_of
from .rewriting import REWRITTEN

BATCH = 5  # sequences of the batch on which a step is traced
MOST_PIECES = 64  # runs of units that an operation may pick out of a vector
_NOT_OF_TORCH = "it has numbers for each sequence that torch has not computed from x or the state, such as NumPy's"
_DECIDES = "a parameter's value decides what step does; a program always does the same"

aten = torch.ops.aten


class Traced(NamedTuple):
    """A time step as a graph.

    Attributes:
        graph: makes further nodes.
        outputs: for each part of the new state, the nodes whose units side by side it is.
        prologue: how the tensors that the graph reads are computed.
        names: local names in `step`, of nodes.
        parts: names of the parts of the state: the local ones, else h, or h0, h1 and so on.
        widths: units of each part of the state.
        inputs: features of x.
    """

    graph: Graph
    outputs: tuple[tuple[Node, ...], ...]
    prologue: Prologue
    names: dict[Node, str]
    parts: tuple[str, ...]
    widths: tuple[int, ...]
    inputs: int


class _Rows:
    """What a storage holds that depends on the input or the state.

    Nodes side by side; and for each of its numbers which sequence's and which unit's it is: sequence * units + unit.
    """

    def __init__(self, nodes: tuple[Node, ...], table: Tensor) -> None:
        self.nodes, self.table = nodes, table

    @property
    def units(self) -> int:
        return sum(node.width for node in self.nodes)


def trace(cell: nn.Module, step: Callable[[Tensor, Any], Any], x: Tensor, state: Any, single: bool) -> Traced:
    """Record a step.

    Args:
        cell: owns the parameters; it is run, and must be a copy of which nothing else sees the state.
        step: its step.
        x: (BATCH, features) float32.
        state: (BATCH, units) float32, a tuple of such unless ``single``.
        single: whether the state is one tensor.

    Raises:
        NotCompiledError: it does something that the compiler does not understand.
    """
    parts = (state,) if single else tuple(state)
    recorder = _Recorder(cell)
    recorder.enter(x, [recorder.graph.x(0, x[0].numel())])
    for index, part in enumerate(parts):
        recorder.enter(part, [recorder.graph.state(index, 0, part[0].numel())])
    names = _Names(step, cell)
    with torch.no_grad(), names, recorder, _Kept(recorder):
        results = step(x, state)
    new = (results,) if isinstance(results, Tensor) else tuple(results) if isinstance(results, (tuple, list)) else ()
    if isinstance(results, Tensor) != single or len(new) != len(parts) or not all(isinstance(p, Tensor) for p in new):
        raise NotCompiledError(f"step returns {_kind(results)} as the new state, given {_kind(state)}")
    outputs = []
    for before, after in zip(parts, new, strict=True):
        if before.shape != after.shape:
            given, returned = tuple(before.shape)[1:], tuple(after.shape)[1:]
            raise NotCompiledError(f"step returns a state of shape {returned} per sequence, given one of {given}")
        if after.dtype != torch.float32:
            raise NotCompiledError(f"step returns a state in {str(after.dtype).removeprefix('torch.')}")
        outputs.append(recorder.pieces(after, recorder.order(after.shape)))
    widths = tuple(part[0].numel() for part in parts)
    of_nodes = names.of_nodes(recorder)
    before = [recorder.graph.state(part, 0, width) for part, width in enumerate(widths)]
    after = [of_nodes.get(pieces[0], "") if len(pieces) == 1 else "" for pieces in outputs]
    of_parts = names.of_parts(recorder, before, after)
    recorder.prologue.close()
    return Traced(
        recorder.graph,
        tuple(outputs),
        recorder.prologue,
        of_nodes,
        of_parts,
        widths,
        x[0].numel(),
    )


# What hands a tensor's numbers to Python without a call that a dispatch mode sees.
_HANDED_OVER = frozenset({Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__dlpack__, Tensor.untyped_storage})


class _Kept(TorchFunctionMode):
    """Keeps the numbers of tensors from Python, where a program would always use those of the trace."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_own = not self.recorder.is_recording  # not a call of the recorder's
        if is_own and func in _HANDED_OVER and not self.recorder.prologue.is_fixed(args[0]):
            reason = _NOT_OF_TORCH if self.recorder.depends(args[0]) else _DECIDES
            raise NotCompiledError(f"{reason}{_place()}")
        return func(*args, **(kwargs or {}))


def _kind(state: Any) -> str:
    """Return what a state consists of, in words."""
    if isinstance(state, (tuple, list)):
        return f"a {type(state).__name__} of {len(state)}"
    return "a tensor" if isinstance(state, Tensor) else type(state).__name__


class _Recorder(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave out torch's wrapper, which would load its compiler: two seconds."""
        return False

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = Graph()
        self.prologue = Prologue(cell)
        self.rows: dict[int, _Rows] = {}
        self.given: set[int] = set()  # storages of x and of the state
        self.unknown: dict[int, str] = {}  # what storages hold that the graph does not know
        self.alive: list[Tensor] = []  # so that no storage is freed and another one takes its address
        self.reason = ""
        self.is_recording = False

    # What tensors hold

    def enter(self, tensor: Tensor, nodes: Sequence[Node]) -> None:
        """Take a tensor (BATCH, …) for nodes side by side."""
        self.given.add(storage_of(tensor))
        units = sum(node.width for node in nodes)
        self.write(tensor, tuple(nodes), torch.arange(BATCH * units).view(tensor.shape))

    def write(self, tensor: Tensor, nodes: tuple[Node, ...], table: Tensor) -> None:
        """Say what a tensor holds from now on; `table`, of its shape, as in `_Rows`."""
        self.alive.append(tensor)
        storage = storage_of(tensor)
        rows = self.rows.get(storage)
        if rows is None:
            rows = self.rows[storage] = _Rows(nodes, table_for(tensor))
            view_of(rows.table, tensor).copy_(table)
            return
        before, more = rows.units, sum(node.width for node in nodes)
        units = before + more  # the new nodes follow the old ones
        rows.table = rows.table // before * units + rows.table % before
        view_of(rows.table, tensor).copy_(table // more * units + table % more + before)
        rows.nodes += nodes

    def depends(self, value: object) -> bool:
        """Tell whether a value is a tensor that depends on x or the state."""
        return isinstance(value, Tensor) and storage_of(value) in self.rows

    def table(self, tensor: Tensor) -> Tensor:
        """Return the table of a tensor's numbers, of its shape; see `_Rows`."""
        return view_of(self.rows[storage_of(tensor)].table, tensor)

    def sequences(self, tensor: Tensor) -> Tensor:
        """Return of which sequence each of a tensor's numbers is, of its shape."""
        rows = self.rows[storage_of(tensor)]
        return view_of(rows.table, tensor) // rows.units

    def numbers(self, value: Any, shape: Sequence[int], order: Tensor) -> tuple[Node, ...]:
        """Return the nodes of a tensor or a number that is broadcast to a shape; places as in `pieces`."""
        if isinstance(value, Tensor):
            return self.pieces(value.expand(shape), order)
        return (self.graph.constant(float(value), order.shape[1]),)

    def order(self, shape: Sequence[int], like: Tensor | None = None) -> Tensor:
        """Return the places (BATCH, units) of a tensor's numbers, sequence by sequence.

        ``like`` says of which sequence each number is; by default the first axis does.
        """
        count = torch.Size(shape).numel()
        if count % BATCH:
            raise NotCompiledError("it picks some sequences of the batch, which a step must treat one by one")
        if like is None:
            return torch.arange(count).view(BATCH, -1)
        return torch.argsort(like.reshape(-1), stable=True).view(BATCH, -1)

    def pieces(self, tensor: Tensor, order: Tensor) -> tuple[Node, ...]:
        """Return the nodes whose units side by side are a tensor's numbers at places (BATCH, units)."""
        if not self.depends(tensor):
            return self._of_parameters(tensor, order)
        rows = self.rows[storage_of(tensor)]
        flat = self.table(tensor).reshape(-1)[order]
        sequences, units = flat // rows.units, flat % rows.units
        if not torch.equal(units, units[:1].expand_as(units)) or not torch.equal(
            sequences, torch.arange(BATCH)[:, None].expand_as(sequences)
        ):
            raise NotCompiledError("it mixes the sequences of the batch, which a step must treat one by one")
        return self._picked(rows.nodes, units[0])

    def _picked(self, nodes: tuple[Node, ...], units: Tensor) -> tuple[Node, ...]:
        picked: list[Node] = []
        ends = [0]
        for node in nodes:
            ends.append(ends[-1] + node.width)
        for first, count, stride in _runs(units):
            at = next(i for i, end in enumerate(ends[1:]) if first < end)
            if stride == 0:
                picked.append(self.graph.expand(self.graph.slice(nodes[at], first - ends[at], 1), count))
                continue
            while count:
                width = min(count, ends[at + 1] - first)
                picked.append(self.graph.slice(nodes[at], first - ends[at], width))
                first, count, at = first + width, count - width, at + 1
        return tuple(picked)

    def _of_parameters(self, tensor: Tensor, order: Tensor) -> tuple[Node, ...]:
        number = self.prologue.constant(tensor)
        if number is not None:
            return (self.graph.constant(number, order.shape[1]),)
        values = tensor.reshape(-1)[order]
        if not torch.equal(values, values[:1].expand_as(values)) and not bool(values.isnan().any()):
            raise NotCompiledError(_NOT_OF_TORCH)
        root, places = self.prologue.tensor(tensor)
        at = places.reshape(-1)[order[0]]
        return tuple(
            self.graph.unit(Vector(root, first, stride), count) for first, count, stride in _runs(at, any_stride=True)
        )

    # What torch does

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, before, self.is_recording = kwargs or {}, self.is_recording, True
        try:
            return self._record(func, args, kwargs)
        except NotCompiledError as error:
            if not self.reason:
                self.reason = f"{error}{_place()}"
            raise NotCompiledError(self.reason) from None
        finally:
            self.is_recording = before

    def _record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = func.overloadpacket.__name__
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise NotCompiledError(f"{name} draws random numbers, which a program cannot")
        tensors = _tensors(args, kwargs)
        for tensor in tensors:
            if what := self.unknown.get(storage_of(tensor)):
                raise NotCompiledError(f"{name} uses {what}, which the compiler does not know")
        if not any(map(self.depends, tensors)):
            return self._prepare(func, name, args, kwargs, tensors)
        if rewritten := REWRITTEN.get(name):
            with self:
                return rewritten(*args, **kwargs)
        if any(tensor.dtype in _FOREIGN for tensor in tensors):
            dtype = next(tensor.dtype for tensor in tensors if tensor.dtype in _FOREIGN)
            raise NotCompiledError(f"{name} computes in {str(dtype).removeprefix('torch.')}, not in float32")
        in_place = func._schema.is_mutable
        if in_place and (rewritten := REWRITTEN.get(name.removesuffix("_"))):
            with self:
                return args[0].copy_(rewritten(*args, **kwargs))
        if in_place and not (name.endswith("_") and len(args) and isinstance(args[0], Tensor)):
            raise NotCompiledError(f"{name} writes into a tensor that it is given")
        handler = HANDLERS.get(name.removesuffix("_") if in_place else name)
        if handler is None:
            if func.is_view and name != "detach":
                result = func(*args, **kwargs)
                self.alive.extend(_tensors((result,), {}))
                return result
            raise NotCompiledError(f"the compiler does not know {name}")
        if not in_place:
            result = func(*args, **kwargs)
            if name in ("detach", "lift_fresh") or (
                isinstance(result, Tensor) and any(result.untyped_storage() is t.untyped_storage() for t in tensors)
            ):
                result = result.clone()
            handler(self, result, *args, **kwargs)
            return result
        handler(self, self._writable(args[0]), *args, **kwargs)
        return func(*args, **kwargs)

    def _writable(self, target: Tensor) -> Tensor:
        """Return a tensor that step writes into, with its whole storage in the graph."""
        if storage_of(target) in self.given:
            raise NotCompiledError("it writes into the x or the state that it is given")
        if not self.depends(target):
            self.prologue.check_written(target)
            root = self.prologue.root(target)
            assert root is not None
            if BATCH not in root.shape:
                raise NotCompiledError("it writes what depends on x or the state into a tensor of another batch size")
            like = torch.arange(BATCH).view(-1, *[1] * (root.dim() - 1 - root.shape.index(BATCH))).expand(root.shape)
            order = self.order(root.shape, like)
            self.place(root, self.pieces(root, order), order)
        return target

    def _prepare(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]
    ) -> Any:
        """Compute what depends on parameters alone."""
        count = [tensor for tensor in tensors if name != "index" or tensor.dtype == torch.bool]  # that decide how many
        is_counted = torch.Tag.dynamic_output_shape in func.tags and not all(map(self.prologue.is_fixed, count))
        if is_counted or name in ("_local_scalar_dense", "is_nonzero", "equal", "item"):
            raise NotCompiledError(_DECIDES)
        for tensor in _written(func, args, kwargs):
            self.prologue.check_written(tensor)
        result = func(*args, **kwargs)
        if name in ("detach", "lift_fresh"):  # in storage of its own, as views are known by their storage
            result = result.clone()
        if name == "lift_fresh" and not self.prologue.knows(args[0]):  # made of Python's numbers
            self.prologue.record(Call(torch.tensor, (args[0].tolist(),), {"dtype": args[0].dtype}), [], result)
        else:
            self.prologue.record(Call(func, args, kwargs), tensors, result)
        return result

    def compute(self, operation: str, result: Tensor, *inputs: Any) -> None:
        """Take `result` for a pointwise operation of tensors and numbers, broadcast to its shape."""
        shape, like = result.shape, next(value for value in inputs if self.depends(value))
        order = self.order(shape, self.sequences(like).expand(shape))
        columns = [self.numbers(value, shape, order) for value in inputs]
        nodes = tuple(self.graph.apply(operation, *pieces) for pieces in self._aligned(columns))
        self.place(result, nodes, order)

    def place(self, result: Tensor, nodes: tuple[Node, ...], order: Tensor) -> None:
        """Take the numbers of `result` at places (BATCH, units) for nodes side by side."""
        table = torch.empty(result.numel(), dtype=torch.int64)
        table[order.reshape(-1)] = torch.arange(order.numel())
        self.write(result, nodes, table.view(result.shape))

    def _aligned(self, columns: Sequence[tuple[Node, ...]]) -> list[tuple[Node, ...]]:
        """Cut vectors into pieces whose ends agree."""
        if all(len(pieces) == 1 for pieces in columns):
            return [tuple(pieces[0] for pieces in columns)]
        ends = sorted({end for pieces in columns for end in _ends(pieces)})
        cut = [self.cut(pieces, ends) for pieces in columns]
        if len(ends) > MOST_PIECES:
            raise NotCompiledError(f"it picks units in {len(ends)} pieces, at most {MOST_PIECES} can be handled")
        return list(zip(*cut, strict=True))

    def cut(self, pieces: tuple[Node, ...], ends: Sequence[int]) -> list[Node]:
        """Cut a vector into pieces with given ends."""
        cut = []
        at, start, first = 0, 0, 0
        for end in ends:
            while start + pieces[at].width <= first:
                start += pieces[at].width
                at += 1
            cut.append(self.graph.slice(pieces[at], first - start, end - first))
            first = end
        return cut

    def product(self, lefts: tuple[Node, ...], weight: Tensor) -> tuple[Node, ...]:
        """Return pieces side by side (k) times a matrix (k, columns) of parameters."""
        root, places = self.prologue.tensor(weight)
        k, columns = weight.shape
        first = int(places[0, 0])
        matrix = Matrix(
            root,
            first,
            int(places[0, 1]) - first if columns > 1 else 0,
            int(places[1, 0]) - first if k > 1 else 0,
        )
        sums: list[Node] = []
        row = 0
        for left in lefts:
            part = matrix.factors_from(row)
            if left.operation in ("constant", "unit"):
                raise NotCompiledError("it multiplies parameters alone by a matrix, once for each sequence")
            sums.append(self.graph.product(left, part, columns))
            row += left.width
        total = self.graph.total(sums)
        assert total is not None
        return (total,)


def _multiply(recorder: _Recorder, result: Tensor, left: Tensor, right: Tensor) -> None:
    """mm: (rows, k) times (k, columns); of one side the rows belong to sequences, the other one is parameters'."""
    if recorder.depends(left) and recorder.depends(right):
        raise NotCompiledError("it multiplies two matrices that both depend on x or the state")
    if recorder.depends(right):
        return _multiply(recorder, result.t(), right.t(), left.t())
    sequence = recorder.sequences(left)
    if not torch.equal(sequence, sequence[:, :1].expand_as(sequence)):
        raise NotCompiledError("it mixes the sequences of the batch, which a step must treat one by one")
    order = recorder.order(left.shape[:1], sequence[:, 0])  # (BATCH, rows of each sequence)
    k, columns = right.shape
    nodes: tuple[Node, ...] = ()
    for j in range(order.shape[1]):
        places = order[:, j, None] * k + torch.arange(k)
        nodes += recorder.product(recorder.pieces(left, places), right)
    recorder.place(result, nodes, (order[:, :, None] * columns + torch.arange(columns)).view(BATCH, -1))
    return None


def _multiply_each(recorder: _Recorder, result: Tensor, left: Tensor, right: Tensor) -> None:
    """bmm: each of n matrices with its own."""
    for part, a, b in zip(result, left, right, strict=True):
        _multiply(recorder, part, a, b)


def _mover(function: Callable[..., Tensor]) -> Callable[..., None]:
    def handler(recorder: _Recorder, result: Tensor, source: Any, *args: Any, **kwargs: Any) -> None:
        if not recorder.depends(source):
            raise NotCompiledError("it picks parameters by a value that depends on x or the state")
        if any(map(recorder.depends, _tensors(args, kwargs))):
            raise NotCompiledError("it picks units by a value that depends on x or the state")
        for index in _tensors(args, kwargs):
            recorder.prologue.check_fixed(index)
        recorder.write(
            result,
            recorder.rows[storage_of(source)].nodes,
            function(recorder.table(source), *args, **kwargs).expand(result.shape),
        )

    return handler


def _join(recorder: _Recorder, result: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> None:
    """cat: numbers of several tensors side by side, of which some may be parameters' alone."""
    first = next(tensor for tensor in tensors if recorder.depends(tensor))
    dim %= result.dim()
    kept = [tensor for tensor in tensors if tensor.numel()]
    sequence = recorder.sequences(first)
    nodes: tuple[Node, ...] = ()
    tables = []
    for tensor in kept:
        if recorder.depends(tensor):
            like = recorder.sequences(tensor)
        else:
            like = sequence.narrow(dim, 0, 1).expand(tensor.shape)
        order = recorder.order(tensor.shape, like)
        before, pieces = sum(node.width for node in nodes), recorder.pieces(tensor, order)
        table = torch.empty(tensor.numel(), dtype=torch.int64)
        table[order.reshape(-1)] = (
            torch.arange(BATCH)[:, None] * (1 << 32) + before + torch.arange(order.shape[1])
        ).reshape(-1)
        tables.append(table.view(tensor.shape))
        nodes += pieces
    units = sum(node.width for node in nodes)
    joined = torch.cat(tables, dim)
    recorder.write(result, nodes, (joined >> 32) * units + (joined & 0xFFFFFFFF))


def _reducer(operation: str) -> Callable[..., None]:
    """Sum and amax over some axes of each sequence's numbers."""
    join = "add" if operation == "sum" else "max"

    def handler(
        recorder: _Recorder, result: Tensor, tensor: Tensor, dim: Any = None, keepdim: bool = False, **_: Any
    ) -> None:
        dims = [dim] if isinstance(dim, int) else list(dim or range(tensor.dim()))
        dims = sorted(d % tensor.dim() for d in dims)
        rest = [d for d in range(tensor.dim()) if d not in dims]
        rows, graph = recorder.rows[storage_of(tensor)], recorder.graph
        table = recorder.table(tensor).permute(*rest, *dims).reshape(result.numel(), -1)
        sequence = table // rows.units
        if not torch.equal(sequence, sequence[:, :1].expand_as(sequence)):
            raise NotCompiledError("it sums over the sequences of the batch, which a step must treat one by one")
        order = recorder.order(table.shape[:1], sequence[:, 0])  # (BATCH, results)
        units = (table % rows.units)[order[0]]  # (results, numbers of each)
        nodes: tuple[Node, ...]
        if sum(len(_runs(row)) for row in units) <= MOST_PIECES:
            nodes = tuple(
                reduce(
                    partial(graph.apply, join),
                    [graph.reduce(operation, piece) for piece in recorder._picked(rows.nodes, row)],
                )
                for row in units
            )
        elif units.shape[1] <= MOST_PIECES:
            nodes, *columns = (recorder._picked(rows.nodes, column) for column in units.t())
            for column in columns:
                nodes = tuple(graph.apply(join, *both) for both in recorder._aligned([nodes, column]))
        else:
            raise NotCompiledError(f"it sums units in more than {MOST_PIECES} pieces")
        recorder.place(result, nodes, order)

    return handler


def _greatest(recorder: _Recorder, result: Any, x: Tensor, by: Any = None, keepdim: bool = False) -> None:
    """max: of two tensors, or over an axis, whose indices stay unknown."""
    if isinstance(by, Tensor):
        return recorder.compute("max", result, x, by)
    if by is None:
        return _reducer("maximum")(recorder, result, x)
    recorder.alive.append(result[1])
    recorder.unknown[storage_of(result[1])] = "the place of a maximum"
    return _reducer("maximum")(recorder, result[0], x, by, keepdim)


def _pointwise(operation: str) -> Callable[..., None]:
    arity = POINTWISE[operation].arity
    return lambda recorder, result, *args, **_: recorder.compute(operation, result, *args[:arity])


def _divide(recorder: _Recorder, result: Tensor, a: Any, b: Any, rounding_mode: str | None = None) -> None:
    if rounding_mode is not None:
        raise NotCompiledError(
            f"the compiler does not know div with rounding_mode={rounding_mode!r}: use floor or trunc"
        )
    recorder.compute("div", result, a, b)


def _scaled(operation: str, first: bool = False) -> Callable[..., None]:
    """Add or subtract an operand that may have a factor; rsub has the two the other way round."""

    def handler(recorder: _Recorder, result: Tensor, a: Any, b: Any, alpha: float = 1) -> None:
        if alpha != 1:
            if isinstance(b, Tensor):
                scaled = b * alpha
                if recorder.depends(b):
                    recorder.compute("mul", scaled, b, alpha)
                else:
                    recorder.prologue.record(Call(aten.mul.Tensor, (b, alpha), {}), [b], scaled)
                b = scaled
            else:
                b = b * alpha
        recorder.compute(operation, result, *((b, a) if first else (a, b)))

    return handler


def _swapped(operation: str) -> Callable[..., None]:
    return lambda recorder, result, a, b: recorder.compute(operation, result, b, a)


def _copy(recorder: _Recorder, result: Tensor, target: Any, source: Any, *_: Any, **__: Any) -> None:
    """copy_ and fill_: a tensor's numbers become those of another one."""
    like = result if recorder.depends(result) else source
    order = recorder.order(result.shape, recorder.sequences(like).expand(result.shape))
    recorder.place(result, recorder.numbers(source, result.shape, order), order)


def _fill(value: float | None) -> Callable[..., None]:
    """zeros_like and the like: they need a tensor for its shape alone."""
    call = (aten.empty.memory_format, ()) if value is None else (aten.full.default, (value,))
    return lambda recorder, result, *_, **__: recorder.prologue.record(
        Call(call[0], (list(result.shape), *call[1]), {}), [], result
    )


def _decides(recorder: _Recorder, result: Any, *_: Any, **__: Any) -> None:
    raise NotCompiledError("a value decides what step does; a program does the same for all: use torch.where")


def _same(recorder: _Recorder, result: Tensor, source: Tensor, *_: Any, **__: Any) -> None:
    recorder.write(result, recorder.rows[storage_of(source)].nodes, recorder.table(source))


def _stopped(recorder: _Recorder, result: Tensor, source: Tensor) -> None:
    recorder.compute("stop", result, source)


def _as_number(recorder: _Recorder, result: Tensor, source: Tensor, *_: Any, **options: Any) -> None:
    dtype = options.get("dtype")
    if dtype not in (None, torch.float32, torch.bool):
        raise NotCompiledError(f"it computes in {str(dtype).removeprefix('torch.')}, not in float32")
    if dtype is torch.bool and source.dtype is not torch.bool:
        recorder.compute("ne", result, source, 0)
    else:
        _same(recorder, result, source)


HANDLERS: dict[str, Callable[..., None]] = {
    **{
        name: _pointwise(name)
        for name in (
            "neg", "reciprocal", "sqrt", "abs", "exp", "log", "log1p", "expm1", "tanh", "sigmoid", "sin", "cos", "erf",
            "relu", "atan", "floor", "mul", "gt", "ge", "eq", "ne",
        )
    },
    "div": _divide,
    "sign": _pointwise("sign"),
    "sgn": _pointwise("sign"),
    "maximum": _pointwise("max"),
    "minimum": _pointwise("min"),
    "lerp": _pointwise("lerp"),
    "add": _scaled("add"),
    "sub": _scaled("sub"),
    "rsub": _scaled("sub", first=True),
    "lt": _swapped("gt"),
    "le": _swapped("ge"),
    "logical_and": _pointwise("mul"),
    "bitwise_and": _pointwise("mul"),
    "logical_or": _pointwise("max"),
    "bitwise_or": _pointwise("max"),
    "logical_not": lambda recorder, result, a: recorder.compute("eq", result, a, 0),
    "bitwise_not": lambda recorder, result, a: recorder.compute("eq", result, a, 0),
    "where": _pointwise("select"),
    "masked_fill": lambda recorder, result, a, mask, value: recorder.compute("select", result, mask, value, a),
    "mm": _multiply,
    "bmm": _multiply_each,
    "sum": _reducer("sum"),
    "amax": _reducer("maximum"),
    "max": _greatest,
    "cat": _join,
    "copy": _copy,
    "fill": _copy,
    "zero": lambda recorder, result, target: _copy(recorder, result, target, 0),
    "clone": _same,
    "contiguous": _same,
    "lift_fresh": _same,
    "detach": _stopped,
    "_to_copy": _as_number,
    "empty_like": _fill(None),
    "new_empty": _fill(None),
    "zeros_like": _fill(0),
    "ones_like": _fill(1),
    "new_zeros": _fill(0),
    "new_ones": _fill(1),
    "full_like": lambda recorder, result, source, value, **_: _fill(value)(recorder, result),
    "new_full": lambda recorder, result, source, size, value, **_: _fill(value)(recorder, result),
    "_local_scalar_dense": _decides,
    "is_nonzero": _decides,
    "equal": _decides,
    **{
        name: _mover(getattr(aten, name))
        for name in (
            "index_select", "roll", "flip", "gather", "index", "take", "repeat", "_unsafe_view", "_reshape_copy",
        )
    },
}  # fmt: skip

_FOREIGN = (torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128)


def _tensors(args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
    tensors: list[Tensor] = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            tensors.append(value)
        elif isinstance(value, (list, tuple)):
            tensors.extend(item for item in value if isinstance(item, Tensor))
    return tensors


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the tensors that an operation writes into."""
    if not func._schema.is_mutable:
        return []
    given = {**dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)), **kwargs}
    return _tensors(
        [given.get(a.name) for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write], {}
    )


def _runs(units: Tensor, any_stride: bool = False) -> list[tuple[int, int, int]]:
    """Return numbers as runs (first, count, stride), of stride 1 or 0 unless any is allowed."""
    count = len(units)
    if count == 1:
        return [(int(units[0]), 1, 1)]
    first, last = int(units[0]), int(units[-1])
    steps = units[1:] - units[:-1]
    stride = int(steps[0])
    if last - first == stride * (count - 1) and (any_stride or stride in (0, 1)) and bool((steps == stride).all()):
        return [(first, count, stride)]
    values = units.tolist()
    runs, start = [], 0
    while start < count:
        end, step = start + 1, 1
        if end < count and (values[end] - values[start] in (0, 1) or any_stride):
            step = values[end] - values[start]
            while end < count and values[end] - values[end - 1] == step:
                end += 1
        runs.append((values[start], end - start, step))
        start = end
        if len(runs) > MOST_PIECES:
            raise NotCompiledError(f"it picks units in more than {MOST_PIECES} pieces")
    return runs


def _ends(pieces: tuple[Node, ...]) -> list[int]:
    ends, end = [], 0
    for node in pieces:
        end += node.width
        ends.append(end)
    return ends


_OURS, _TORCH = str(Path(__file__).parent), str(Path(torch.__file__).parent)


def _place() -> str:
    """Return the line of the user's source that is being run, as words."""
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith((_OURS, _TORCH)):
            line = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
            return f" ({Path(frame.filename).name}:{frame.lineno}: {line})"
    return ""


class _Names:
    """Notes the local names in a function, and in the methods of a cell that it calls, when they return."""

    def __init__(self, step: Callable[..., Any], cell: nn.Module) -> None:
        self.code = getattr(getattr(step, "__func__", step), "__code__", None)
        self.cell = cell
        self.found: list[dict[str, Any]] = []

    def __enter__(self) -> None:
        self.watching = sys.getprofile() is None  # a profiler goes on undisturbed, and the names stay unknown
        if self.watching:
            sys.setprofile(self._watch)

    def __exit__(self, *_: object) -> None:
        if self.watching:
            sys.setprofile(None)

    def _watch(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "return":
            return
        code = frame.f_code
        if code is self.code:
            self.found.insert(0, dict(frame.f_locals))
        elif code.co_argcount and not code.co_filename.startswith(_TORCH):
            values = frame.f_locals
            if values.get(code.co_varnames[0]) is self.cell:
                self.found.append(dict(values))

    def of_nodes(self, recorder: _Recorder) -> dict[Node, str]:
        """Return the names of nodes; where one has several, the first, and those in `step` before others."""
        names: dict[Node, str] = {}
        for name, node in self._nodes(recorder):
            if node.operation not in ("x", "state", "constant"):
                names.setdefault(node, name)
        return names

    def of_parts(self, recorder: _Recorder, before: Sequence[Node], after: Sequence[str]) -> tuple[str, ...]:
        """Return names of the parts of the state.

        Args:
            recorder: of the step.
            before: the parts before the step.
            after: the names of the parts after it, or empty; there, the local name may have moved from old to new.
        """
        arguments = self.code.co_varnames[: self.code.co_argcount] if self.code else ()
        local: dict[Node, str] = {}
        for name, node in self._nodes(recorder):
            if name not in arguments:
                local.setdefault(node, name)
        parts: list[str] = []
        for number, (node, new) in enumerate(zip(before, after, strict=True)):
            plain = "h" if len(before) == 1 else f"h{number}"
            name = local.get(node) or new or plain
            parts.append(plain if name in parts else name)
        return tuple(parts)

    def _nodes(self, recorder: _Recorder) -> Iterator[tuple[str, Node]]:
        """Yield the local variables that are a single node each."""
        for name, value in (item for values in self.found for item in values.items()):
            if not (recorder.depends(value) and value.dim() > 1 and value.shape[0] == BATCH):
                continue
            try:
                pieces = recorder.pieces(value, recorder.order(value.shape))
            except NotCompiledError:  # only a name is missing then
                continue
            if len(pieces) == 1:
                yield name, pieces[0]
