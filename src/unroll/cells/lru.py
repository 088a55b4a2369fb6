"""The linear recurrent unit: a state of complex numbers, each of which rotates and decays independently."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from .. import scan
from ..scan.padding import clear_padding
from .base import Cell

R_MIN, R_MAX = 0.9, 0.999  # initial |λ|, the paper's range for sequences of a thousand steps


@final
class LRU(Cell):
    """Linear recurrent unit: s' = λ ⊙ s + γ ⊙ (B x), h' = gelu(Re(C s') + D x), with complex s, λ, B and C.

    λ = exp(-exp(ν) + i exp(θ)), so that ``|λ| < 1`` whatever is learned; γ = exp(γ_log), ``√(1 - |λ|²)`` at the start.
    The paper puts the nonlinearity into a block around the layer; here it is the cell's own, as a stack of linear
    layers would be linear. The state is (h, s), s (batch, 2·hidden) with its real parts first.

    Only real arithmetic is used: complex tensors would have no kernels, no bf16 and no ONNX. Without kernels, the scan
    is computed in axes that rotate with λ's angle: each part of s follows ``h_t = |λ| h_{t-1} + b_t`` there,
    and all products are those of all time steps at once.

    Parameters: nu_log, theta_log, gamma_log (hidden,); weight_ih (2·hidden, input), B's real and imaginary rows;
    weight_ho (hidden, 2·hidden), C's real and negative imaginary columns; weight_io (hidden, input), D.

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units, and complex numbers in the state, at least 1.

    Raises:
        ConfigError: a size below 1.

    Source: A. Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences, arXiv:2303.06349, section 3
    and appendix A; ``|λ|`` between 0.9 and 0.999 at the start, any angle.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.nu_log: nn.Parameter = nn.Parameter(torch.empty(hidden_size))
        self.theta_log: nn.Parameter = nn.Parameter(torch.empty(hidden_size))
        self.gamma_log: nn.Parameter = nn.Parameter(torch.empty(hidden_size))
        self.weight_ih: nn.Parameter = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.weight_ho: nn.Parameter = nn.Parameter(torch.empty(hidden_size, 2 * hidden_size))
        self.weight_io: nn.Parameter = nn.Parameter(torch.empty(hidden_size, input_size))
        if not self.nu_log.is_meta:  # on the meta device, torch would load its compiler for these operations
            self._fill()

    @torch.no_grad()
    def _fill(self) -> None:
        size, features = self.hidden_size, self.input_size
        radius = (torch.rand(size) * (R_MAX**2 - R_MIN**2) + R_MIN**2).sqrt()  # uniform over the area of the ring
        self.nu_log.copy_((-radius.log()).log())
        self.theta_log.copy_((torch.rand(size) * 2 * math.pi).clamp(min=1e-4).log())
        self.gamma_log.copy_((1 - radius**2).sqrt().log())
        self.weight_ih.copy_(torch.randn(2 * size, features) * (2 * features) ** -0.5)
        self.weight_ho.copy_(torch.randn(size, 2 * size) * size**-0.5)
        self.weight_io.copy_(torch.randn(size, features) * features**-0.5)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return zeros: h (batch, hidden) and s (batch, 2·hidden)."""
        sizes = self.hidden_size, 2 * self.hidden_size
        h, s = (torch.zeros(batch_size, size, dtype=dtype, device=device) for size in sizes)
        return h, s

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return h' (batch, hidden) and s' (batch, 2·hidden) from x (batch, input) and the state before."""
        turn = torch.exp(self.theta_log)
        s = self._radius() * _turned(state[1], turn.cos(), turn.sin()) + self._drive(x)
        return self._output(x, s), s

    def _scan_by_torch(
        self, x: Tensor, state: tuple[Tensor, Tensor], lengths: Tensor | None, reverse: bool, last_only: bool
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Compute a linear scan in rotating axes."""
        batch, time, _ = x.shape
        if time == 0:
            return x.new_zeros(batch, 0, self.hidden_size), state
        if lengths is not None:
            x = clear_padding(x, lengths)
        count = torch.full((batch,), time, device=x.device) if lengths is None else lengths
        index = torch.arange(time, device=x.device)
        # The number of steps after each step, (batch or 1, time, 1).
        taken = ((count if lengths is not None else count[:1]).unsqueeze(1) - index) if reverse else (index + 1)[None]
        cos, sin = self._axes(taken.unsqueeze(2))
        b = _turned(self._drive(x), cos, -sin)
        s, end = scan.linear_scan(self._radius().expand_as(b), b, state[1], lengths, "reference", reverse=reverse)
        final = self._final(x, _turned(end, *self._axes(count.unsqueeze(1))), state[0], count, reverse)
        if last_only:
            return x.new_empty(batch, 0, self.hidden_size), final
        h = self._output(x, _turned(s, cos, sin))
        return h if lengths is None else clear_padding(h, lengths), final

    def _final(self, x: Tensor, s: Tensor, h0: Tensor, count: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
        """Return the state after each sequence's last step; ``s`` is the second part."""
        last = torch.zeros_like(count) if reverse else (count - 1).clamp(min=0)
        h = self._output(x[torch.arange(len(x), device=x.device), last], s)
        return torch.where((count > 0).unsqueeze(1), h, h0), s

    def _axes(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of the rotation angle; in float64, as the angle grows with the number of steps."""
        exact = torch.float32 if steps.device.type == "mps" else torch.float64  # MPS has no float64
        angle = steps * torch.exp(self.theta_log.to(exact))
        return angle.cos().to(self.theta_log.dtype), angle.sin().to(self.theta_log.dtype)

    def _radius(self) -> Tensor:
        return torch.exp(-torch.exp(self.nu_log)).repeat(2)

    def _drive(self, x: Tensor) -> Tensor:
        return self.gamma_log.exp().repeat(2) * linear(x, self.weight_ih)

    def _output(self, x: Tensor, s: Tensor) -> Tensor:
        return gelu(linear(s, self.weight_ho) + linear(x, self.weight_io))


def _turned(s: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return s (…, 2·hidden), complex numbers with their real parts first, times cos + i sin (…, hidden)."""
    real, imaginary = s.chunk(2, dim=-1)
    return torch.cat((real * cos - imaginary * sin, real * sin + imaginary * cos), dim=-1)
