"""A program carried out by torch, phase by phase in float64: what the machine in the kernels must give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cell_scans import Task
from recurrences import Tensors
from unroll.compiler import Plan
from unroll.compiler.program import Block, Op, Operand, Place, Product, Program, Reduction, Stage, Steps

OPERATIONS = {
    Op.COPY: lambda a: a,
    Op.NEG: lambda a: -a,
    Op.RECIPROCAL: lambda a: 1 / a,
    Op.SQRT: torch.sqrt,
    Op.ABS: torch.abs,
    Op.SIGN: torch.sign,
    Op.EXP: torch.exp,
    Op.LOG: torch.log,
    Op.LOG1P: torch.log1p,
    Op.EXPM1: torch.expm1,
    Op.TANH: torch.tanh,
    Op.SIGMOID: torch.sigmoid,
    Op.SIN: torch.sin,
    Op.COS: torch.cos,
    Op.ERF: torch.erf,
    Op.RELU: torch.relu,
    Op.ATAN: torch.atan,
    Op.FLOOR: torch.floor,
    Op.ADD: torch.add,
    Op.SUB: torch.sub,
    Op.MUL: torch.mul,
    Op.DIV: torch.div,
    Op.MAX: torch.maximum,
    Op.MIN: torch.minimum,
    Op.GT: lambda a, b: (a > b).double(),
    Op.GE: lambda a, b: (a >= b).double(),
    Op.EQ: lambda a, b: (a == b).double(),
    Op.NE: lambda a, b: (a != b).double(),
    Op.FMA: lambda a, b, c: a * b + c,
    Op.FNMA: lambda a, b, c: c - a * b,
    Op.SELECT: lambda a, b, c: torch.where(a != 0, b, c),
    Op.LERP: lambda a, b, c: a - c * a + c * b,
    Op.TANH_BACK: lambda a, b: b * (1 - a * a),
    Op.SIGMOID_BACK: lambda a, b: b * a * (1 - a),
    Op.TANH_BACK_MUL: lambda a, b, c: b * c * (1 - a * a),
    Op.SIGMOID_BACK_MUL: lambda a, b, c: b * c * a * (1 - a),
    Op.TANH_MUL: lambda a, b: torch.tanh(a) * b,
    Op.TANH_FMA: lambda a, b, c: torch.tanh(a * b + c),
}


class Emulator:
    """Scans sequences of one length with a program, forwards and back."""

    def __init__(self, program: Program, tensors: Sequence[Tensor]) -> None:
        self.program = program
        self.tensors = [tensor.detach().double().reshape(-1) for tensor in tensors]
        self.biases = torch.zeros(program.products, dtype=torch.float64)
        self.unit = torch.zeros(program.units, dtype=torch.float64)
        for fill in program.fills:
            self.unit[fill.to : fill.to + fill.n] = fill.value
        for terms, to in ((program.biases, self.biases), (program.unit_terms, self.unit)):
            for term in terms:
                at = term.offset + term.stride * torch.arange(term.n)
                to[term.to : term.to + term.n] += self.tensors[term.tensor][at]

    def places(self, block: Block, factors: int) -> Tensor:
        """Return where a block's weights (factors, columns) are in its tensor."""
        return block.offset + block.column * torch.arange(block.columns) + block.factor * torch.arange(factors)[:, None]

    def matrix(self, blocks: Sequence[Block], factors: int) -> Tensor:
        return torch.cat([self.tensors[block.tensor][self.places(block, factors)] for block in blocks], 1)

    def view(self, memory: dict[tuple[Place, int], Tensor], at: Operand, width: int) -> Tensor:
        return memory[at.place, at.part].narrow(-1, at.column, width)

    def step(self, steps: Steps, memory: dict[tuple[Place, int], Tensor], batch: int) -> None:
        """Run the phases of a time step on rows in `memory`."""
        nan = float("nan")
        memory[Place.RAW, 0] = torch.full((batch, steps.raw), nan, dtype=torch.float64)
        memory[Place.UNIT, 0] = self.unit.expand(batch, -1)
        for phase in steps.phases:
            if isinstance(phase, Product):
                self.view(memory, phase.to, phase.columns).copy_(self.product(phase, memory, batch))
            elif isinstance(phase, Reduction):
                numbers = self.view(memory, phase.at, phase.n)
                result = numbers.amax(1, keepdim=True) if phase.maximum else numbers.sum(1, keepdim=True)
                self.view(memory, phase.to, 1).copy_(result)
            else:
                self.stage(phase, memory, batch)

    def product(self, product: Product, memory: dict[tuple[Place, int], Tensor], batch: int) -> Tensor:
        total = torch.zeros(batch, product.columns, dtype=torch.float64)
        if product.bias >= 0:
            total = total + self.biases[product.bias : product.bias + product.columns]
        for left in product.lefts:
            total = total + self.view(memory, left.at, left.factors) @ self.matrix(left.blocks, left.factors)
        return total

    def stage(self, stage: Stage, memory: dict[tuple[Place, int], Tensor], batch: int) -> None:
        for register in range(stage.registers):
            memory[Place.LOCAL, register] = torch.full((batch, stage.width), float("nan"), dtype=torch.float64)
        for op, to, *operands in stage.instructions:
            given = [self.view(memory, at, 1 if op == Op.EXPAND else stage.width) for at in operands if at is not None]
            if op == Op.ACCUMULATE:
                memory[Place.TOTAL, 0][to.column : to.column + stage.width] += given[0].sum(0)
            elif op == Op.EXPAND:
                self.view(memory, to, stage.width).copy_(given[0].expand(-1, stage.width))
            else:
                self.view(memory, to, stage.width).copy_(OPERATIONS[op](*given))

    def forward(self, x: Tensor, state: Sequence[Tensor], keep: bool = True) -> tuple[Tensor, list[Tensor]]:
        """Return the outputs (batch, time, units) and the final state."""
        program, batch = self.program, len(x)
        self.x = x.detach().double()
        self.states = [[part.detach().double() for part in state]]
        self.kept = []
        for x_t in self.x.unbind(1):
            after = [torch.full_like(part, float("nan")) for part in self.states[-1]]
            kept = torch.full((batch, program.kept), float("nan"), dtype=torch.float64)
            memory = {(Place.X, 0): x_t, (Place.KEPT, 0): kept}
            memory.update({(Place.BEFORE, i): part for i, part in enumerate(self.states[-1])})
            memory.update({(Place.AFTER, i): part for i, part in enumerate(after)})
            self.step(program.forward if keep else program.infer, memory, batch)
            self.states.append(after)
            self.kept.append(kept)
        return torch.stack([state[0] for state in self.states[1:]], 1), self.states[-1]

    def backward(self, dy: Tensor, ends: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the gradients by x, the tensors and the initial state."""
        program, batch = self.program, len(dy)
        grads = [torch.zeros_like(tensor) for tensor in self.tensors]
        total = torch.zeros(program.units, dtype=torch.float64)
        biases = torch.zeros(program.products, dtype=torch.float64)
        before = [end.double().clone() for end in ends]
        dx = torch.zeros_like(self.x)
        for t in reversed(range(self.x.shape[1])):
            before[0] = before[0] + dy[:, t].double()
            d = torch.full((batch, program.d), float("nan"), dtype=torch.float64)
            memory = {
                (Place.X, 0): self.x[:, t],
                (Place.KEPT, 0): self.kept[t],
                (Place.D, 0): d,
                (Place.TOTAL, 0): total,
            }
            for i, part in enumerate(before):
                memory[Place.BEFORE, i], memory[Place.AFTER, i] = self.states[t][i], self.states[t + 1][i]
                memory[Place.GRADIENT, i], memory[Place.CARRY, i] = part, torch.zeros_like(part)
            self.step(program.backward, memory, batch)
            before = [memory[Place.CARRY, i] for i in range(len(before))]
            for i, products in enumerate(program.past):
                for product in products:
                    view = before[i].narrow(1, product.to.column, product.columns)
                    view += self.product(product, memory, batch)
            if program.d > program.products:
                dx[:, t] += d[:, program.products :]
            for product in program.dx:
                dx[:, t].narrow(1, product.to.column, product.columns).add_(self.product(product, memory, batch))
            biases += d[:, : program.products].sum(0)
            for gradient in program.gradients:
                dw = self.view(memory, gradient.at, gradient.factors).T @ d.narrow(1, gradient.d, gradient.columns)
                first = 0
                for block in gradient.blocks:
                    at = self.places(block, gradient.factors).reshape(-1)
                    grads[block.tensor].index_add_(0, at, dw[:, first : first + block.columns].reshape(-1))
                    first += block.columns
        for terms, sums in ((program.biases, biases), (program.unit_terms, total)):
            for term in terms:
                at = term.offset + term.stride * torch.arange(term.n)
                grads[term.tensor].index_add_(0, at, sums[term.to : term.to + term.n])
        return dx, grads, before


def emulated(plan: Plan, cell: Any, given: Task) -> Tensors:
    """Return what a plan's program gives in float64, as `cell_scans.everything` does, for sequences of full length."""
    trained = {name: parameter for name, parameter in cell.named_parameters() if parameter.requires_grad}
    tensors = plan.traced.prologue.run(cell)
    emulator = Emulator(plan.program, tensors)
    y, ends = emulator.forward(given.x, given.state)
    without, _ = Emulator(plan.program, tensors).forward(given.x, given.state, keep=False)
    torch.testing.assert_close(without, y, rtol=1e-10, atol=1e-10)

    def weights(part: Tensor, counts: bool) -> Tensor:
        return torch.linspace(-1, 1, part.numel(), dtype=torch.float64).view_as(part) * counts

    dx, dw, starts = emulator.backward(weights(y, given.outputs), [weights(end, given.ends) for end in ends])
    reached = [(t, d.view_as(t)) for t, d in zip(tensors, dw, strict=True) if t.requires_grad]
    gradients = torch.autograd.grad(
        [t for t, _ in reached], [*trained.values()], [d.to(t.dtype) for t, d in reached], allow_unused=True,
        materialize_grads=True,
    ) if reached and trained else [torch.zeros_like(p) for p in trained.values()]  # fmt: skip
    return {
        "y": y,
        **{f"end {i}": end for i, end in enumerate(ends)},
        "d x": dx,
        **{f"d state {i}": start for i, start in enumerate(starts)},
        **{f"d {name}": gradient for name, gradient in zip(trained, gradients, strict=True)},
    }
