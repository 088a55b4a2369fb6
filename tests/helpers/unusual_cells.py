"""Cells that try out what a compiler of `Cell.step` takes, and what it must leave to the loop.

`UNDERSTOOD` must compile. `REFUSED` must not: each with a word that the reason must contain, and all but a few with a
line of `step` to point at. For `EITHER` both are right, as long as outputs and gradients are those of the loop.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations

from own_cells import OneState, Pair, TwoStates, uniform
from unroll import Cell


class LayerNormed(OneState):
    """Layer norm of the sums, with its own scale and shift."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.gain, self.shift = uniform(1, hidden_size), uniform(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        sums = self.w(x) + self.u(state)
        return torch.tanh(F.layer_norm(sums, (self.hidden_size,), self.gain, self.shift))


class LayerNormModule(OneState):
    """`nn.LayerNorm` of two products, each alone, and of three gates at once in another; no biases."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size, 3 * hidden_size, bias=False)
        self.u = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.of_x, self.of_h = nn.LayerNorm(3 * hidden_size), nn.LayerNorm(3 * hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        r_x, z_x, n_x = self.of_x(self.w(x)).chunk(3, dim=1)
        r_h, z_h, n_h = self.of_h(self.u(state)).chunk(3, dim=1)
        z = torch.sigmoid(z_x + z_h)
        return z * state + (1 - z) * torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)


class Normalised(OneState):
    """Means, variance and a norm over units by hand: h' = v / √(mean v² + ε) - mean v."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = self.w(x) + self.u(state)
        scale = torch.rsqrt(v.pow(2).mean(dim=1, keepdim=True) + 1e-5)
        spread = v.var(dim=-1, unbiased=False, keepdim=True)
        return torch.tanh(v * scale - v.mean(-1, keepdim=True)) / (1 + spread.sqrt())


class Attentive(OneState):
    """A softmax over units chooses which of them take the new value."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, 2 * hidden_size), nn.Linear(hidden_size, 2 * hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        scores, n = (self.w(x) + self.u(state)).chunk(2, dim=1)
        a = torch.softmax(scores, dim=1)
        return (1 - a) * state + a * torch.tanh(n)


class Highest(OneState):
    """The maximum, the minimum, a log-sum-exp and a sum over units."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = self.w(x) + self.u(state)
        top, low = v.amax(dim=1, keepdim=True), v.amin(dim=1, keepdim=True)
        total = torch.logsumexp(v, dim=1, keepdim=True)
        return torch.tanh(v - 0.1 * top + 0.1 * low) * torch.sigmoid(total + state.sum(dim=1, keepdim=True))


class Heads(OneState):
    """A recurrent matrix in blocks, one for each head, by einsum; hidden must be even."""

    heads = 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        size = hidden_size // self.heads
        self.w = nn.Linear(input_size, hidden_size)
        self.blocks = uniform(size, self.heads, size, size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        heads = state.view(state.shape[0], self.heads, -1)
        return torch.tanh(self.w(x) + torch.einsum("bni,nij->bnj", heads, self.blocks).flatten(1))


class Concatenated(OneState):
    """One matrix for x and h side by side, and a product with another part of the units."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gates = nn.Linear(input_size + hidden_size, 2 * hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        z, n = self.gates(torch.cat([x, state], dim=1)).chunk(2, dim=1)
        return torch.lerp(state, torch.tanh(n), torch.sigmoid(z))


class MatmulStyles(OneState):
    """Products in every spelling: @, mm, addmm, matmul with a transpose, F.linear."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = uniform(hidden_size, input_size, hidden_size)
        self.a, self.b, self.c, self.d = (uniform(hidden_size, hidden_size, hidden_size) for _ in range(4))
        self.bias = uniform(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        gate = torch.sigmoid(torch.addmm(self.bias, h, self.a, beta=0.5, alpha=2.0))
        other = torch.mm(h, self.b) + torch.matmul(h, self.c.T) - F.linear(gate * h, self.d)
        return gate * torch.tanh(x @ self.w + other)


class WeightNormed(OneState):
    """`parametrizations.weight_norm` on the recurrent product."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size, hidden_size)
        self.u = parametrizations.weight_norm(nn.Linear(hidden_size, hidden_size))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + self.u(state))


class Orthogonal(OneState):
    """`parametrizations.orthogonal` on the recurrent product."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size, hidden_size)
        self.u = parametrizations.orthogonal(nn.Linear(hidden_size, hidden_size, bias=False))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + self.u(state))


class Antisymmetric(OneState):
    """The matrix is W - Wᵀ - γ I: h' = h + ε tanh((W - Wᵀ - γ I) h + V x), arXiv:1902.09689, equation 7."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.v = nn.Linear(input_size, hidden_size)
        self.weight = uniform(hidden_size, hidden_size, hidden_size)
        self.gamma, self.epsilon = 0.1, 0.5

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        identity = torch.eye(self.hidden_size, dtype=x.dtype, device=x.device)
        matrix = self.weight - self.weight.T - self.gamma * identity
        return state + self.epsilon * torch.tanh(state @ matrix.T + self.v(x))


class Tied(OneState):
    """The same matrix for the gate and, transposed, for the candidate; the bias is a module's own, used twice."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.again = nn.Linear(hidden_size, hidden_size)
        self.again.weight = self.u.weight

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        z = torch.sigmoid(self.u(state) + self.w(x))
        n = torch.tanh(self.w(x) + (z * state) @ self.u.weight + self.again(state))
        return z * state + (1 - z) * n


class InPlace(OneState):
    """In-place arithmetic on tensors made in the step."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, 2 * hidden_size), nn.Linear(hidden_size, 2 * hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        sums = self.w(x)
        sums += self.u(state)
        z, n = sums.chunk(2, dim=1)
        h = state * torch.sigmoid(z)
        h += torch.tanh(n)
        h *= 0.5
        return h.mul_(1.5).add_(state, alpha=-0.1).clamp_(-1, 1)


class SliceAssigned(OneState):
    """Some units are written over: those of the first half are a sum with the input, the rest a copy of the state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        half = (self.hidden_size + 1) // 2
        new = torch.tanh(self.u(state)).clone()
        new[:, :half] = new[:, :half] + self.w(x)[:, :half]
        new[:, -1] = 0.5 * state[:, -1]
        return new


class Rolled(OneState):
    """Each unit sees its neighbours, by roll and flip."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size, hidden_size)
        self.a, self.b = uniform(hidden_size, hidden_size), uniform(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        return torch.tanh(self.w(x) + self.a * torch.roll(h, 1, dims=1) + self.b * h.roll(-2, 1) + 0.1 * h.flip(1))


class Permuted(OneState):
    """A fixed permutation of the units: index_select, and the same by a list of indices."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.a = nn.Linear(input_size, hidden_size), uniform(hidden_size, hidden_size)
        self.register_buffer("order", torch.arange(hidden_size).roll(hidden_size // 2))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        shuffled = state.index_select(1, self.order)
        return torch.tanh(self.w(x) + self.a * shuffled + 0.5 * state[:, self.order.flip(0)])


class PointwiseInput(OneState):
    """x itself in the arithmetic, as wide as h: the input must have as many features as there are units."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.u, self.gate = nn.Linear(hidden_size, hidden_size), nn.Linear(input_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        z = torch.sigmoid(self.gate(x) + self.u(state))
        return z * x + (1 - z) * state


class FourParts(Cell):
    """Four parts of different widths: h, a slow context, a mean, and twice as many traces as units."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.slow = hidden_size // 2 + 1
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.into, self.out = nn.Linear(input_size, self.slow), nn.Linear(self.slow, hidden_size)
        self.traces = nn.Linear(hidden_size, 2 * hidden_size)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
        widths = (self.hidden_size, self.slow, 1, 2 * self.hidden_size)
        return tuple(torch.zeros(batch_size, width, dtype=dtype, device=device) for width in widths)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, slow, mean, traces = state
        slow = 0.9 * slow + 0.1 * self.into(x)
        kept, shown = traces.split(self.hidden_size, dim=1)
        h = torch.tanh(self.w(x) + self.u(h) + self.out(slow) + mean * kept)
        mean = 0.5 * mean + 0.5 * h.mean(dim=1, keepdim=True)
        return h * torch.sigmoid(shown), slow, mean, 0.8 * traces + 0.2 * torch.tanh(self.traces(h))


class KeptInput(Cell):
    """The second part of the state is the input of the step before, unchanged."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.v = nn.Linear(input_size, hidden_size), nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Pair:
        widths = (self.hidden_size, self.input_size)
        h, before = (torch.zeros(batch_size, width, dtype=dtype, device=device) for width in widths)
        return h, before

    def step(self, x: Tensor, state: Pair) -> Pair:
        h, before = state
        return torch.tanh(self.w(x) + self.v(before)) + 0.5 * h, x


class SamePart(TwoStates):
    """Both parts of the new state are one tensor; the old second part is not read."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Pair) -> Pair:
        h = torch.tanh(self.w(x) + self.u(state[0]))
        return h, h


class Swapped(TwoStates):
    """The parts change places, so that a part must not be overwritten before the other is read."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Pair) -> Pair:
        h, c = state
        return c + torch.tanh(self.w(x)), torch.tanh(self.u(h))


class Bounded(OneState):
    """clamp, where, comparisons, maximum, minimum, abs, sign."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.threshold = uniform(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = self.w(x) + self.u(state)
        spike = (v > self.threshold).to(v.dtype)
        v = torch.where(v >= 0, v, 0.2 * v).clamp(-0.9, 0.9)
        v = torch.maximum(v, 0.1 * state) + torch.minimum(v, self.threshold) * spike
        return v - 0.1 * torch.sign(v) * v.abs().clamp(min=0.05)


class Masked(OneState):
    """masked_fill and logical combinations of comparisons."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = torch.tanh(self.w(x) + self.u(state))
        outside = (v < -0.5) | (v > 0.5) & ~(state == 0)
        return v.masked_fill(outside, 0.5) + 0.1 * state.masked_fill(v != v, 0.0)


class Activations(OneState):
    """gelu in both forms, softplus, elu, silu, leaky_relu, hardtanh, hardsigmoid, mish, selu, logsigmoid, softsign."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = self.w(x) + self.u(state)
        first = F.gelu(v) + F.gelu(v, approximate="tanh") + F.softplus(v) + F.elu(v) + F.silu(v) + F.mish(v)
        second = F.leaky_relu(v, 0.1) + F.hardtanh(v) + F.hardsigmoid(v) + F.selu(v) + F.logsigmoid(v) + F.softsign(v)
        return torch.tanh(0.1 * first + 0.1 * second + F.relu6(v) + F.softplus(v, beta=2.0) + F.hardswish(v))


class Functions(OneState):
    """exp, log1p, expm1, sqrt, rsqrt, reciprocal, pow, sin, cos, erf, square, division, addcmul, addcdiv."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = torch.tanh(self.w(x) + self.u(state))
        positive = 1.5 + v
        v = torch.exp(-positive) + torch.log1p(positive) + torch.expm1(v) + positive.sqrt() + positive.rsqrt()
        v = v + positive.reciprocal() + positive**3 + positive.pow(0.3) + torch.sin(v) + torch.cos(v) + torch.erf(v)
        v = torch.addcmul(v, state, positive, value=0.5) + torch.addcdiv(state, v, positive) - 2 / positive
        v = 0.05 * v
        return torch.tanh(v + 0.1 * v.square() + 0.1 * torch.log(positive) + 2.0**v / 100)


class Arctangent(OneState):
    """An inverse trigonometric function."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.atan(self.w(x) + self.u(state))


class InnerGRU(OneState):
    """`nn.GRUCell` inside, its result gated."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.inner, self.gate = nn.GRUCell(input_size, hidden_size), nn.Linear(input_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        z = torch.sigmoid(self.gate(x))
        return z * self.inner(x, state) + (1 - z) * state


class InnerLSTM(TwoStates):
    """`nn.LSTMCell` inside, with a residual connection."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.inner, self.past = nn.LSTMCell(input_size, hidden_size), nn.Linear(input_size, hidden_size)

    def step(self, x: Tensor, state: Pair) -> Pair:
        h, c = self.inner(x, state)
        return h + 0.1 * self.past(x), c


class InnerRNN(OneState):
    """`nn.RNNCell` with relu inside, twice in a step: what it returns is read once more."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.inner = nn.RNNCell(input_size, hidden_size, nonlinearity="relu")

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.inner(x, self.inner(x, state)))


class Perceptron(OneState):
    """An `nn.Sequential` of three layers, of widths of their own: products of three levels."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.net = nn.Sequential(
            nn.Linear(input_size + hidden_size, hidden_size + 3), nn.SiLU(), nn.Linear(hidden_size + 3, 7), nn.Tanh(),
            nn.Linear(7, hidden_size),
        )  # fmt: skip

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return 0.9 * state + 0.1 * self.net(torch.cat((x, state), 1))


class Scalars(OneState):
    """Scalars of every kind: a 0-dimensional parameter, one of shape (1,), a buffer, a number, an attribute."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.beta, self.gamma = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor([0.7]))
        self.leak = 0.9
        self.register_buffer("scale", torch.tensor(1.2))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        gate = torch.sigmoid(self.w(x) - self.beta)
        return self.leak * state * self.gamma + self.scale * gate * torch.tanh(self.u(state)) / (1 + self.beta**2)


class Fixed(OneState):
    """A recurrent matrix that is not trained, as in an echo state network: a buffer and a frozen parameter."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size, hidden_size)
        self.w.bias.requires_grad_(False)
        self.register_buffer("u", torch.randn(hidden_size, hidden_size) * hidden_size**-0.5)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + state @ self.u)


class Diagonal(OneState):
    """No recurrent product at all: a vector takes its place."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.a = nn.Linear(input_size, hidden_size), uniform(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.relu(self.w(x) + self.a * state)


class Multiplicative(OneState):
    """Two products multiplied with each other, then a third: h' = tanh(W_h ((W_m x) (U_m h)) + V x)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.v = nn.Linear(input_size, hidden_size), nn.Linear(input_size, hidden_size)
        self.u = nn.Linear(hidden_size, hidden_size)
        self.m = nn.Linear(hidden_size, hidden_size, bias=False)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.m(self.w(x) * self.u(state)) + self.v(x))


class Noisy(OneState):
    """Dropout of the candidate, which is drawn at each step."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(F.dropout(self.w(x) + self.u(state), 0.3, self.training))


class Jittered(OneState):
    """Noise on the weights: it depends on neither x nor the state, and is drawn at each step all the same."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), uniform(hidden_size, hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        u = self.u + 0.01 * torch.randn_like(self.u)
        return torch.tanh(self.w(x) + state @ u)


class Branching(OneState):
    """A branch that depends on the data."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        if state.sum() > 0:
            return torch.tanh(self.w(x) - self.u(state))
        return torch.tanh(self.w(x) + self.u(state))


class Pondering(OneState):
    """As many repetitions as a number read from the data says."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        for _ in range(1 + int(x.abs().sum().item()) % 3):
            h = torch.tanh(self.w(x) + self.u(h))
        return h


class Cumulative(OneState):
    """An op over units that nobody expects: cumsum."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.softmax(torch.cumsum(self.w(x) + self.u(state), dim=1), dim=1)


class Spectral(OneState):
    """A circular convolution with the units, by the Fourier transform."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.kernel = nn.Linear(input_size, hidden_size), uniform(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        mixed = torch.fft.irfft(torch.fft.rfft(state) * torch.fft.rfft(self.kernel), n=self.hidden_size)
        return torch.tanh(self.w(x) + mixed)


class Sorted(OneState):
    """The units in order of size, and the largest by topk."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + state.sort(dim=1).values - state.topk(1, dim=1).values)


class AcrossBatch(OneState):
    """The mean over the batch, which no cell may use; `check_cell` says so too."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = self.w(x) + self.u(state)
        return torch.tanh(v - v.mean(dim=0, keepdim=True))


class RunningMean(OneState):
    """A buffer that each step updates."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.register_buffer("mean", torch.zeros(hidden_size))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = self.w(x) + self.u(state)
        self.mean.mul_(0.9).add_(v.detach().mean(dim=0), alpha=0.1)
        return torch.tanh(v - self.mean)


class Counting(OneState):
    """A Python attribute that each step changes: what is recorded once would be wrong for every other step."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u, self.steps = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size), 0

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        self.steps += 1
        return torch.tanh(self.w(x) + self.u(state)) / self.steps


class WritesState(OneState):
    """It writes into the state that it is given."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        with torch.no_grad():
            state.mul_(0.9)
        return torch.tanh(self.w(x)) + state


class MatrixMemory(Cell):
    """A state (batch, units, units) beside h, as in a fast-weight memory."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.key = nn.Linear(input_size, hidden_size), nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Pair:
        h = torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)
        return h, torch.zeros(batch_size, self.hidden_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x: Tensor, state: Pair) -> Pair:
        h, memory = state
        value, key = torch.tanh(self.w(x)), torch.tanh(self.key(x))
        memory = 0.9 * memory + value.unsqueeze(2) * key.unsqueeze(1)
        return torch.tanh(torch.bmm(memory, key.unsqueeze(2)).squeeze(2) + h), memory


class CountedSteps(Cell):
    """A part of the state of integers, one for each sequence."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Pair:
        h = torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)
        return h, torch.zeros(batch_size, 1, dtype=torch.int64, device=device)

    def step(self, x: Tensor, state: Pair) -> Pair:
        h, steps = state
        h = torch.tanh(self.w(x) + self.u(h))
        return torch.where(steps % 2 == 0, h, -h), steps + 1


class Doubled(OneState):
    """It computes in float64 inside."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh((self.w(x) + self.u(state)).double()).to(x.dtype)


class ThroughNumPy(OneState):
    """It leaves torch for a moment, without a gradient."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = self.w(x) + self.u(state)
        return torch.tanh(v) * torch.from_numpy(abs(v.detach().numpy()))


class Detached(OneState):
    """A gate through which no gradient passes, by detach."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = torch.tanh(self.w(x) + self.u(state))
        return v * torch.sigmoid(v).detach() + state.detach()


class GradientFree(OneState):
    """The same by no_grad, which leaves no trace among the ops."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = torch.tanh(self.w(x) + self.u(state))
        with torch.no_grad():
            gate = torch.sigmoid(v)
        return v * gate


class _Threshold(torch.autograd.Function):
    """A step function whose gradient is that of a sigmoid: a surrogate, as spiking networks use."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        s = torch.sigmoid(4 * v)
        return 4 * grad * s * (1 - s)


class Spiking(TwoStates):
    """Leaky integrate-and-fire units with a surrogate gradient; the state is (spikes, potential)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size, bias=False)

    def step(self, x: Tensor, state: Pair) -> Pair:
        spikes, potential = state
        potential = 0.9 * potential * (1 - spikes) + self.w(x) + self.u(spikes)
        return _Threshold.apply(potential - 0.3), potential


class Clipped(OneState):
    """A hook on a tensor of the step clips its gradient."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = self.w(x) + self.u(state)
        if v.requires_grad:
            v.register_hook(lambda grad: grad.clamp(-1e-3, 1e-3))
        return torch.tanh(v)


class Checkpointed(OneState):
    """The step's middle is computed again in the backward pass."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = self.w(x) + self.u(state)
        new: Tensor = torch.utils.checkpoint.checkpoint(torch.tanh, v, use_reentrant=False)
        return new


class Expanded(OneState):
    """It makes tensors as large as the batch, whose values do not depend on its size."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.start = uniform(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        start = self.start.expand(x.shape[0], self.hidden_size)
        ones = torch.ones(x.shape[0], 1, dtype=x.dtype, device=x.device)
        return torch.tanh(self.w(x) + self.u(state) + ones * start) / (1 + 0 * x.size(0))


class Averaged(OneState):
    """It divides by the size of the batch: a program must not keep the number of another batch."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + self.u(state)) / x.shape[0]


UNDERSTOOD: dict[str, type[Cell]] = {
    cell.__name__: cell
    for cell in (
        LayerNormed, LayerNormModule, Normalised, Attentive, Highest, Heads, Concatenated, MatmulStyles, WeightNormed,
        Orthogonal, Antisymmetric, Tied, InPlace, SliceAssigned, Rolled, Permuted, PointwiseInput, FourParts,
        KeptInput, SamePart, Swapped, Bounded, Masked, Activations, Functions, InnerGRU, InnerLSTM, InnerRNN,
        Perceptron, Scalars, Fixed, Diagonal, Multiplicative,
    )
}  # fmt: skip

REFUSED: dict[type[Cell], str] = {
    Noisy: "draws random numbers",
    Jittered: "randn_like draws random numbers",
    Branching: "batch",
    Pondering: "batch",
    Cumulative: "cumsum",
    Spectral: "fft",
    Sorted: "sort",
    AcrossBatch: "sums over the sequences of the batch",
    RunningMean: "changes mean",
    Counting: "changes steps",
    WritesState: "writes into the x or the state",
    MatrixMemory: "two matrices",
    CountedSteps: "int64",
    Doubled: "float64",
    ThroughNumPy: "NumPy",
    Averaged: "size of the batch",
}

EITHER: dict[str, type[Cell]] = {
    cell.__name__: cell for cell in (Arctangent, Detached, GradientFree, Spiking, Clipped, Checkpointed, Expanded)
}
# Cells whose input must be as wide as the state, whose units must be even in number, and how many units others need:
# the standard deviation of a single one has no gradient.
SQUARE = frozenset({PointwiseInput})
EVEN = frozenset({Heads})
LEAST = {Normalised: 2}
