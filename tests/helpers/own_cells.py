"""Cells of one's own, written as in a paper's appendix: eight that unroll does not have, and three that it does.

`EIGHT` are compared with NumPy in tests/cells/test_own_cells.py and timed in benchmarks/cells.py. `TWINS` have the
parameters of the built-in cells, so that a state_dict can be moved between the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from unroll import GRU, LSTM, RNN, Cell

Pair = tuple[Tensor, Tensor]


def uniform(hidden: int, *shape: int) -> nn.Parameter:
    """Return a parameter uniform within ±1/√hidden."""
    return nn.Parameter(torch.empty(shape).uniform_(-(hidden**-0.5), hidden**-0.5))


class OneState(Cell):
    """Abstract: the state is h (batch, hidden), first zero."""

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)


class TwoStates(Cell):
    """Abstract: the state is two tensors (batch, hidden), first zero."""

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Pair:
        h = torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)
        return h, torch.zeros_like(h)


class Leaky(OneState):
    """Leaky integrator: h' = (1 - α) h + α tanh(W x + U h + b), α = σ(rate), one rate for each unit.

    Source: H. Jaeger et al., Optimization and applications of echo state networks with leaky-integrator neurons, Neural
    Networks 20 (2007), equation 1, with a gain of 1; here the rates are learnt.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size, hidden_size)
        self.u = nn.Linear(hidden_size, hidden_size, bias=False)
        self.rate = uniform(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h, alpha = state, torch.sigmoid(self.rate)
        return (1 - alpha) * h + alpha * torch.tanh(self.w(x) + self.u(h))


class MGU(OneState):
    """Minimal gated unit: f = σ(W_f x + U_f h + b_f), n = tanh(W_n x + U_n (f h) + b_n), h' = (1 - f) h + f n.

    Source: G.-B. Zhou et al., Minimal gated unit for recurrent neural networks, arXiv:1603.09420, equations 8 to 10.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = uniform(hidden_size, 2 * hidden_size, input_size)
        self.weight_hh = uniform(hidden_size, 2 * hidden_size, hidden_size)
        self.bias = uniform(hidden_size, 2 * hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        f_x, n_x = linear(x, self.weight_ih, self.bias).chunk(2, dim=1)
        u_f, u_n = self.weight_hh.chunk(2)
        f = torch.sigmoid(f_x + linear(h, u_f))
        n = torch.tanh(n_x + linear(f * h, u_n))
        return (1 - f) * h + f * n


class JANET(OneState):
    """Forget gate only: s = W_f x + U_f h + b_f, h' = σ(s) h + (1 - σ(s - β)) tanh(W_n x + U_n h + b_n), β = 1.

    Source: J. van der Westhuizen and J. Lasenby, The unreasonable effectiveness of the forget gate, arXiv:1804.04849,
    section 3.
    """

    beta = 1.0

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = uniform(hidden_size, 2 * hidden_size, input_size)
        self.weight_hh = uniform(hidden_size, 2 * hidden_size, hidden_size)
        self.bias = uniform(hidden_size, 2 * hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        s, n = (linear(x, self.weight_ih, self.bias) + linear(h, self.weight_hh)).chunk(2, dim=1)
        return torch.sigmoid(s) * h + (1 - torch.sigmoid(s - self.beta)) * torch.tanh(n)


class LiGRU(OneState):
    """Light GRU: z = σ(W_z x + U_z h + b_z), n = relu(W_n x + U_n h + b_n), h' = z h + (1 - z) n.

    Source: M. Ravanelli et al., Light gated recurrent units for speech recognition, arXiv:1803.10225, section III,
    without the batch normalisation of W x.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = uniform(hidden_size, 2 * hidden_size, input_size)
        self.weight_hh = uniform(hidden_size, 2 * hidden_size, hidden_size)
        self.bias = uniform(hidden_size, 2 * hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        z, n = (linear(x, self.weight_ih, self.bias) + linear(h, self.weight_hh)).chunk(2, dim=1)
        z = torch.sigmoid(z)
        return z * h + (1 - z) * torch.relu(n)


class ChoGRU(OneState):
    """GRU with r before the product: n = tanh(W_n x + U_n (r h) + b_n), h' = z h + (1 - z) n.

    r = σ(W_r x + U_r h + b_r), z = σ(W_z x + U_z h + b_z).

    Source: K. Cho et al., Learning phrase representations using RNN encoder-decoder, arXiv:1406.1078, equations 5 to 8.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w_r, self.w_z, self.w_n = (nn.Linear(input_size, hidden_size) for _ in range(3))
        self.u_r, self.u_z, self.u_n = (nn.Linear(hidden_size, hidden_size, bias=False) for _ in range(3))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        r = torch.sigmoid(self.w_r(x) + self.u_r(h))
        z = torch.sigmoid(self.w_z(x) + self.u_z(h))
        n = torch.tanh(self.w_n(x) + self.u_n(r * h))
        return z * h + (1 - z) * n


class PeepholeLSTM(TwoStates):
    """LSTM whose gates see c: i, f with p c, o with p c'; c' = f c + i tanh(g), h' = o tanh(c').

    i = σ(W_i x + U_i h + p_i c + b_i), f = σ(W_f x + U_f h + p_f c + b_f), g = W_g x + U_g h + b_g,
    o = σ(W_o x + U_o h + p_o c' + b_o); the peepholes p are diagonal.

    Source: F. Gers and J. Schmidhuber, Recurrent nets that time and count, IJCNN 2000; as in A. Graves,
    arXiv:1308.0850, equations 7 to 11.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = uniform(hidden_size, 4 * hidden_size, input_size)
        self.weight_hh = uniform(hidden_size, 4 * hidden_size, hidden_size)
        self.bias = uniform(hidden_size, 4 * hidden_size)
        self.peephole = uniform(hidden_size, 3, hidden_size)

    def step(self, x: Tensor, state: Pair) -> Pair:
        h, c = state
        p_i, p_f, p_o = self.peephole
        i, f, g, o = (linear(x, self.weight_ih, self.bias) + linear(h, self.weight_hh)).chunk(4, dim=1)
        i, f = torch.sigmoid(i + p_i * c), torch.sigmoid(f + p_f * c)
        c = f * c + i * torch.tanh(g)
        return torch.sigmoid(o + p_o * c) * torch.tanh(c), c


class CoRNN(TwoStates):
    """Coupled oscillators: z' = z + Δt (tanh(W y + U z + V x + b) - γ y - ε z), y' = y + Δt z'; the state is (y, z).

    Source: T. K. Rusch and S. Mishra, Coupled oscillatory recurrent neural network, arXiv:2010.00951, equation 3, with
    the damping ε z of the step before, as in the authors' code.
    """

    dt, gamma, epsilon = 0.1, 1.0, 1.0

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(hidden_size, hidden_size, bias=False)
        self.u = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v = nn.Linear(input_size, hidden_size)

    def step(self, x: Tensor, state: Pair) -> Pair:
        y, z = state
        drive = torch.tanh(self.w(y) + self.u(z) + self.v(x))
        z = z + self.dt * (drive - self.gamma * y - self.epsilon * z)
        return y + self.dt * z, z


class LEM(TwoStates):
    """Long expressive memory: two time scales for each unit; the state is (y, z).

    a = Δt σ(W_1 y + V_1 x + b_1), ā = Δt σ(W_2 y + V_2 x + b_2), z' = (1 - a) z + a tanh(W_z y + V_z x + b_z),
    y' = (1 - ā) y + ā tanh(W_y z' + V_y x + b_y), Δt = 1.

    Source: T. K. Rusch et al., Long expressive memory for sequence modeling, arXiv:2110.04744, equation 3.
    """

    dt = 1.0

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.v = nn.Linear(input_size, 4 * hidden_size)
        self.w = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.w_y = nn.Linear(hidden_size, hidden_size, bias=False)

    def step(self, x: Tensor, state: Pair) -> Pair:
        y, z = state
        x_1, x_2, x_z, x_y = self.v(x).chunk(4, dim=1)
        y_1, y_2, y_z = self.w(y).chunk(3, dim=1)
        a, a_bar = self.dt * torch.sigmoid(x_1 + y_1), self.dt * torch.sigmoid(x_2 + y_2)
        z = (1 - a) * z + a * torch.tanh(x_z + y_z)
        return (1 - a_bar) * y + a_bar * torch.tanh(x_y + self.w_y(z)), z


class OwnRNN(OneState):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), as `torch.nn.RNNCell` and `unroll.RNN`."""

    gates = 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = uniform(hidden_size, self.gates * hidden_size, input_size)
        self.weight_hh = uniform(hidden_size, self.gates * hidden_size, hidden_size)
        self.bias_ih = uniform(hidden_size, self.gates * hidden_size)
        self.bias_hh = uniform(hidden_size, self.gates * hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(linear(x, self.weight_ih, self.bias_ih) + linear(state, self.weight_hh, self.bias_hh))


class OwnGRU(OwnRNN):
    """r after the product: n = tanh(W_in x + b_in + r (W_hn h + b_hn)), as `torch.nn.GRUCell` and `unroll.GRU`."""

    gates = 3

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        r_x, z_x, n_x = linear(x, self.weight_ih, self.bias_ih).chunk(3, dim=1)
        r_h, z_h, n_h = linear(h, self.weight_hh, self.bias_hh).chunk(3, dim=1)
        r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
        n = torch.tanh(n_x + r * n_h)
        return (1 - z) * n + z * h


class OwnLSTM(TwoStates):
    """c' = f c + i g, h' = o tanh(c'), as `torch.nn.LSTMCell` and `unroll.LSTM`."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = uniform(hidden_size, 4 * hidden_size, input_size)
        self.weight_hh = uniform(hidden_size, 4 * hidden_size, hidden_size)
        self.bias_ih = uniform(hidden_size, 4 * hidden_size)
        self.bias_hh = uniform(hidden_size, 4 * hidden_size)

    def step(self, x: Tensor, state: Pair) -> Pair:
        h, c = state
        sums = linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh)
        i, f, g, o = sums.chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


EIGHT: dict[str, type[Cell]] = {
    cell.__name__: cell for cell in (Leaky, MGU, JANET, LiGRU, ChoGRU, PeepholeLSTM, CoRNN, LEM)
}
TWINS: dict[type[Cell], type[Cell]] = {OwnRNN: RNN, OwnGRU: GRU, OwnLSTM: LSTM}
