"""Operations of torch that a step is traced through in simpler ones, which the recorder sees in their place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import NotCompiledError


def _addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    product = a.mm(b)
    return bias * beta + product * alpha if (alpha, beta) != (1, 1) else bias + product


def _baddbmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = a.bmm(b)
    return bias * beta + product * alpha if (alpha, beta) != (1, 1) else bias + product


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = x.reshape(-1, x.shape[-1]).mm(weight.t()).view(*x.shape[:-1], weight.shape[0])
    return product if bias is None else product + bias


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    return torch.cat([tensor.unsqueeze(dim) for tensor in tensors], dim)


def _softmax(x: Tensor, dim: int, _: bool = False) -> Tensor:
    powers = (x - x.amax(dim, keepdim=True).detach()).exp()
    return powers / powers.sum(dim, keepdim=True)


def _log_softmax(x: Tensor, dim: int, _: bool = False) -> Tensor:
    moved = x - x.amax(dim, keepdim=True).detach()
    return moved - moved.exp().sum(dim, keepdim=True).log()


def _logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    most = x.amax(dim, keepdim=True).detach()
    total = (x - most).exp().sum(dim, keepdim=True).log() + most
    return total if keepdim else total.squeeze(dim)


def _mean(x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    total = x.sum(dim, keepdim=keepdim)
    return total * (total.numel() / x.numel())


def _var(x: Tensor, dim: Any = None, correction: Any = None, keepdim: bool = False, *, unbiased: bool = True) -> Any:
    if isinstance(correction, bool):
        correction = 1.0 if correction else 0.0
    less = 1.0 if correction is None else float(correction)
    apart = x - x.mean(dim, keepdim=True)
    total = (apart * apart).sum(dim, keepdim=keepdim)
    return total / (x.numel() / total.numel() - less)


def _var_mean(x: Tensor, dim: Any = None, **options: Any) -> tuple[Tensor, Tensor]:
    return _var(x, dim, **options), _mean(x, dim, options.get("keepdim", False))


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    dims = list(range(-len(shape), 0))
    mean = x.mean(dims, keepdim=True)
    apart = x - mean
    scale = ((apart * apart).mean(dims, keepdim=True) + eps).sqrt().reciprocal()
    normal = apart * scale
    normal = normal if weight is None else normal * weight
    return normal if bias is None else normal + bias, mean, scale


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, channels: int, size: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    grouped = x.reshape(n, groups, -1)
    normal, mean, scale = _layer_norm(grouped, grouped.shape[2:], None, None, eps)
    shape = (1, channels, *[1] * (x.dim() - 2))
    normal = normal.reshape(x.shape)
    normal = normal if weight is None else normal * weight.reshape(shape)
    return normal if bias is None else normal + bias.reshape(shape), mean.reshape(n, groups), scale.reshape(n, groups)


def _rms_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> tuple[Tensor, Tensor]:
    dims = list(range(-len(shape), 0))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    scale = ((x * x).mean(dims, keepdim=True) + eps).sqrt().reciprocal()
    normal = x * scale
    return normal if weight is None else normal * weight, scale


def _power(x: Any, exponent: Any) -> Any:
    if isinstance(exponent, Tensor):
        return (exponent * (x.log() if isinstance(x, Tensor) else math.log(x))).exp()
    if exponent == int(exponent) and 0 < abs(exponent) <= 16:
        power, square, rest = None, x, int(abs(exponent))
        while rest:
            if rest & 1:
                power = square if power is None else power * square
            square, rest = (square * square if rest > 1 else square), rest >> 1
        assert power is not None
        return power.reciprocal() if exponent < 0 else power
    if exponent in (0.5, -0.5):
        return x.sqrt() if exponent > 0 else x.sqrt().reciprocal()
    if exponent > 1:
        return _at_zero(x, lambda x: (x.log() * exponent).exp())
    return (x.log() * exponent).exp()  # NaN for negative numbers, as a power is


def _clamp(x: Tensor, least: Any = None, most: Any = None) -> Tensor:
    """Within the bounds, ends included, the gradient is 1, and outside 0; NaN stays NaN."""
    if least is not None:
        x = torch.where(x < least, least, x)
    return x if most is None else torch.where(x > most, most, x)


def _hardtanh(x: Tensor, least: float = -1.0, most: float = 1.0) -> Tensor:
    return torch.where(x <= least, least, torch.where(x >= most, most, x))


def _elu(x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    low = torch.where(x > 0, 0.0, x)  # so that the exponential of a large number is not taken
    return torch.where(x > 0, x * scale, (low * input_scale).expm1() * (alpha * scale))


def _softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    scaled = x * beta
    low = torch.where(scaled > threshold, 0.0, scaled)
    return torch.where(scaled > threshold, x, low.exp().log1p() * (1 / beta))


def _log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    return -_softplus(-x), x


def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        return 0.5 * x * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)).tanh())
    return 0.5 * x * (1 + (x * math.sqrt(0.5)).erf())


def _leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    return torch.where(x > 0, x, x * slope)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * slope)


def _threshold(x: Tensor, threshold: float, value: float) -> Tensor:
    return torch.where(x <= threshold, value, x)


def _softshrink(x: Tensor, most: float = 0.5) -> Tensor:
    return torch.where(x > most, x - most, torch.where(x < -most, x + most, 0.0))


def _hardshrink(x: Tensor, most: float = 0.5) -> Tensor:
    return torch.where(x > most, x, torch.where(x < -most, x, 0.0))


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    a, b = x.chunk(2, dim)
    return a * b.sigmoid()


def _at_zero(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return f(x) where x is not 0, else 0 with gradient 0, as torch has it for norms, deviations and powers."""
    zero = x == 0
    return torch.where(zero, 0.0, function(torch.where(zero, 1.0, x)))


def _root(x: Tensor) -> Tensor:
    return _at_zero(x, torch.sqrt)


def _norm(x: Tensor, order: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if order == 2:
        return _root((x * x).sum(dim, keepdim=keepdim))
    if order == 1:
        return x.abs().sum(dim, keepdim=keepdim)
    if order == math.inf:
        return x.abs().amax(dim if dim is not None else list(range(x.dim())), keepdim=keepdim)
    total = _power(x.abs(), order).sum(dim, keepdim=keepdim)
    return _at_zero(total, lambda total: _power(total, 1 / order))


def _truncated(x: Tensor) -> Tensor:
    return torch.where(x < 0, -(-x).floor(), x.floor())


def _rounded(x: Tensor, *, decimals: int = 0) -> Tensor:
    """Ties go to the even number. |x| - ⌊|x|⌋ is exact, which x - ⌊x⌋ is not."""
    if decimals:
        scale = 10.0 ** abs(decimals)
        return _rounded(x * scale) / scale if decimals > 0 else _rounded(x / scale) * scale
    size = x.abs()
    whole = size.floor()
    rest, half = size - whole, whole * 0.5
    odd = 2 * (half - half.floor())
    nearest = whole + torch.where(rest > 0.5, 1.0, torch.where(rest == 0.5, odd, 0.0))
    return torch.where(x < 0, -nearest, nearest)


def _remainder(a: Any, b: Any) -> Any:
    if not isinstance(b, (int, float)) or abs(math.frexp(b)[0]) != 0.5:
        raise NotCompiledError("the remainder is exact for divisors that are powers of two alone, as 0.5, 1 and 2")
    return a - b * (a / b).floor()


def _addcmul(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    return x + a * b * value if value != 1 else x + a * b


def _addcdiv(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    return x + a / b * value if value != 1 else x + a / b


REWRITTEN: dict[str, Callable[..., Any]] = {
    "addmm": _addmm,
    "baddbmm": _baddbmm,
    "linear": _linear,
    "stack": _stack,
    "unsafe_split": lambda x, size, dim=0: x.split(size, dim),
    "unsafe_chunk": lambda x, count, dim=0: x.chunk(count, dim),
    "unsafe_split_with_sizes": lambda x, sizes, dim=0: x.split(sizes, dim),
    "_softmax": _softmax,
    "_log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "mean": _mean,
    "var": _var,
    "var_mean": _var_mean,
    "std": lambda x, *args, **kwargs: _root(_var(x, *args, **kwargs)),
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "_fused_rms_norm": _rms_norm,
    "linalg_vector_norm": _norm,
    "pow": _power,
    "clamp": _clamp,
    "clamp_min": lambda x, least: _clamp(x, least),
    "clamp_max": lambda x, most: _clamp(x, None, most),
    "hardtanh": _hardtanh,
    "relu6": lambda x: _hardtanh(x, 0.0, 6.0),
    "hardsigmoid": lambda x: _hardtanh(x + 3.0, 0.0, 6.0) * (1 / 6),
    "hardswish": lambda x: x * (_hardtanh(x + 3.0, 0.0, 6.0) * (1 / 6)),
    "elu": _elu,
    "softplus": _softplus,
    "log_sigmoid_forward": _log_sigmoid,
    "gelu": _gelu,
    "silu": lambda x: x * x.sigmoid(),
    "mish": lambda x: x * _softplus(x).tanh(),
    "leaky_relu": _leaky_relu,
    "_prelu_kernel": _prelu,
    "threshold": _threshold,
    "softshrink": _softshrink,
    "hardshrink": _hardshrink,
    "glu": _glu,
    "amin": lambda x, *args, **kwargs: -(-x).amax(*args, **kwargs),
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    "square": lambda x: x * x,
    "rsqrt": lambda x: x.sqrt().reciprocal(),
    "exp2": lambda x: (x * math.log(2)).exp(),
    "log2": lambda x: x.log() * (1 / math.log(2)),
    "log10": lambda x: x.log() * (1 / math.log(10)),
    "ceil": lambda x: -(-x).floor(),
    "trunc": _truncated,
    "fix": _truncated,
    "frac": lambda x: x - _truncated(x),
    "round": _rounded,
    "remainder": _remainder,
    "tan": lambda x: x.sin() / x.cos(),
    "sinh": lambda x: (x.exp() - (-x).exp()) * 0.5,
    "cosh": lambda x: (x.exp() + (-x).exp()) * 0.5,
}  # fmt: skip
