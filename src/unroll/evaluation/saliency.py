"""Which numbers, or words, of a sequence speak for a class, and which against it: saliency by gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models.classifier import SequenceClassifier
from ..models.modes import inference
from ..scan.padding import clear_padding
from ..validation import check_choice, check_whole
from .metrics import is_as_made

Method = Literal["integrated-gradients", "gradient-times-input"]
Read = Callable[[Tensor, Tensor | None], Tensor]  # x (batch, time, features) and lengths to logits (batch, classes)

AT_ONCE = 65_536  # time steps of all sequences and steps that are read together: memory is that of so many, not of all


def attribute(
    model: nn.Module,
    x: Tensor,
    lengths: Tensor | None = None,
    target: int | Tensor | None = None,
    method: Method = "integrated-gradients",
    steps: int = 64,
) -> Tensor:
    """Say what each element of the input adds to the logit of a class: above 0 it speaks for it, below 0 against it.

    Integrated gradients share out, element by element, what the logit is more at ``x`` than at a baseline: their sum
    is that difference, but for the error of the quadrature. They are the mean of the gradients on the straight way
    from the baseline to ``x``, times that way. Gradient times input takes the gradient at ``x`` alone: a fraction of
    the work, and the sum says nothing any more.

    The baseline is zero: of standardised data the mean of the training part, with scaling "unit" the value 0, and of
    features that tell what is missing "nothing is". Of texts it is the zero vector in place of each token's; what the
    numbers of a vector add is summed up to one value per token. Where a model scales each series by itself, its mean
    and deviation are taken as they are, and the baseline is that mean too. Lengths stay what they are.

    Such a map says what this model looks at, which need not be what makes the class. Other weights must give another
    map: the tests see to that, for all weights and for those of the head alone.

    The model is read in eval mode; it, its gradients and torch's generators stay as they were.

    Args:
        model: a `SequenceClassifier`, or maps x (batch, time, features) and lengths to logits (batch, classes).
        x: (batch, time, features) of the parameters' dtype, scaled as in training; or (batch, time) tokens.
        lengths: (batch,) int64 time steps, or None where all are full (default None).
        target: class whose logit is explained, one for all or (batch,) int64 (default: the one predicted for each).
        method: "integrated-gradients" or "gradient-times-input" (default "integrated-gradients").
        steps: points on the way from the baseline, by the rule of Gauss and Legendre, which for smooth functions needs
            far fewer than equal distances do (default 64); gradient times input has no use for it. Take more where the
            sum is off: close to a baseline that leaves all units at 0, say, layer norm is all but a jump.

    Returns:
        float32 of the shape and on the device of ``x``: a value for each number or token, in units of the logit; 0 past
        each length.

    Raises:
        InputError: ``x``, ``lengths`` or ``target`` do not fit the model.
        ConfigError: ``method`` or ``steps`` is out of range.

    Source: integrated gradients M. Sundararajan, A. Taly and Q. Yan, arXiv:1703.01365, section 3; the gradient of a
    class's score K. Simonyan, A. Vedaldi and A. Zisserman, arXiv:1312.6034, section 3; what to check of any such map
    J. Adebayo et al., arXiv:1810.03292.

    Example:
        >>> import unroll
        >>> model = unroll.SequenceClassifier(input_size=3, num_classes=2)
        >>> x = torch.randn(4, 20, 3)
        >>> values = unroll.attribute(model, x, target=1)
        >>> gain = model(x)[:, 1] - model(torch.zeros_like(x))[:, 1]
        >>> torch.allclose(values.sum(dim=(1, 2)), gain, atol=1e-4)
        True
    """
    check_choice("method", method, get_args(Method))
    check_whole("steps", steps, 1)
    if not isinstance(x, Tensor) or x.dim() not in (2, 3):
        got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"x must be a tensor (batch, time, features), or (batch, time) of tokens, got {got}")
    if lengths is not None and not isinstance(lengths, Tensor):
        raise InputError(f"lengths must be an int64 tensor (batch,), got {type(lengths).__name__}")
    if not x.shape[1]:
        return torch.zeros_like(x, dtype=torch.float32)
    points, weights = _way(method, steps)
    with inference(model, gradients=True):
        device = next(model.parameters(), x).device
        given, lengths = x.detach().to(device), None if lengths is None else lengths.to(device)
        labels = _labels(model, given, lengths, target)
        read, vectors = _vectors(model, given, lengths)
        vectors = vectors if lengths is None else clear_padding(vectors, lengths)
        means = _mean_gradients(read, vectors, lengths, labels, points.to(vectors), weights.to(vectors))
        values = vectors * means
        if isinstance(model, SequenceClassifier) and x.dim() == 3:
            values = model.front.summed(values)
    return (values.sum(dim=2) if x.dim() == 2 else values).float().to(x.device)


def _way(method: Method, steps: int) -> tuple[Tensor, Tensor]:
    """Return the points between 0, the baseline, and 1, the input, and the weights of the gradients there."""
    if method == "gradient-times-input":
        return torch.ones(1), torch.ones(1)
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


def _labels(model: nn.Module, x: Tensor, lengths: Tensor | None, target: int | Tensor | None) -> Tensor:
    """Return (batch,) int64: for each sequence the class to explain."""
    size = _at_once(x)
    parts = [slice(at, at + size) for at in range(0, max(1, len(x)), size)]
    with torch.no_grad():
        logits = torch.cat([model(x[part], None if lengths is None else lengths[part]) for part in parts])
    batch, classes = logits.shape
    if target is None:
        return logits.argmax(dim=1)
    if not isinstance(target, int | Tensor):
        raise InputError(f"target must be a class, or int64 ({batch},), got {target!r}")
    labels = target if isinstance(target, Tensor) else torch.full((batch,), target)
    if labels.shape != (batch,) or labels.dtype != torch.int64:
        raise InputError(f"target must be a class, or int64 ({batch},), got {labels.dtype} of {tuple(labels.shape)}")
    if batch and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(f"target must be from 0 to {classes - 1}, got {int(labels.min())} to {int(labels.max())}")
    return labels.to(x.device)


def _vectors(model: nn.Module, x: Tensor, lengths: Tensor | None) -> tuple[Read, Tensor]:
    """Return what reads vectors (batch, time, features), and those that stand for ``x``."""
    if x.dim() == 3 and not (isinstance(model, SequenceClassifier) and model.front.scales):
        return model, x.clone()
    if not isinstance(model, SequenceClassifier) or (model.embedding is None and x.dim() == 2):
        raise InputError(f"x must be (batch, time, features) for {type(model).__name__}, got {tuple(x.shape)}")
    if not is_as_made(model):
        raise InputError(
            f"{'tokens' if x.dim() == 2 else 'series scaled by themselves'} are explained through their vectors, which "
            "a model with another forward, or with hooks, hides"
        )
    return model.of_vectors, model.vectors(x, lengths).detach()


def _mean_gradients(
    read: Read, x: Tensor, lengths: Tensor | None, labels: Tensor, points: Tensor, weights: Tensor
) -> Tensor:
    """Return the weighted mean of the gradients at ``points`` between 0 and ``x``, in the shape of ``x``."""
    means = torch.zeros_like(x)
    together = min(_at_once(x), len(points))
    size = _at_once(x) // together
    for at in range(0, len(x), size):
        part = slice(at, at + size)
        some = None if lengths is None else lengths[part]
        for point, weight in zip(points.split(together), weights.split(together), strict=True):
            n = len(point)
            inputs = (point.view(n, 1, 1, 1) * x[part]).flatten(0, 1)
            gradient = _gradient(read, inputs, None if some is None else some.repeat(n), labels[part].repeat(n))
            means[part] += torch.einsum("n,nbtf->btf", weight, gradient.unflatten(0, (n, -1)))
    return means


def _gradient(read: Read, x: Tensor, lengths: Tensor | None, labels: Tensor) -> Tensor:
    """Return the gradient of each sequence's logit of its label, in the shape of ``x``."""
    logits = read(x.requires_grad_(), lengths)
    # Sequences do not depend on each other, so that one sum has the gradients of all.
    (gradient,) = torch.autograd.grad(logits.gather(1, labels.unsqueeze(1)).sum(), x, materialize_grads=True)
    return gradient


def _at_once(x: Tensor) -> int:
    """Return how many sequences as long as those of ``x`` are read together."""
    return max(1, AT_ONCE // max(1, x.shape[1]))
