"""Attribution by gradients: which values or tokens of a sequence speak for a class, and which against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models.classifier import SequenceClassifier
from ..models.ensemble import Ensemble
from ..models.modes import inference
from ..scan.padding import clear_padding
from ..validation import check_choice, check_whole
from .metrics import is_as_made

Method = Literal["integrated-gradients", "gradient-times-input"]
Read = Callable[[Tensor, Tensor | None], Tensor]  # x (batch, time, features) and lengths to logits (batch, classes)

AT_ONCE = 65_536  # time steps per batch, over sequences and points, which bounds the memory


def attribute(
    model: nn.Module,
    x: Tensor,
    lengths: Tensor | None = None,
    target: int | Tensor | None = None,
    method: Method = "integrated-gradients",
    steps: int = 64,
) -> Tensor:
    """Return what each element of the input adds to the logit of a class; negative values speak against the class.

    Integrated gradients attribute the difference of the logit between ``x`` and a baseline to the elements of ``x``:
    their sum is that difference, up to the error of the quadrature. They are the mean gradient on the straight line
    from the baseline to ``x``, times ``x`` minus the baseline. Gradient times input takes the gradient only at ``x``:
    it is much faster, but its sum has no meaning.

    The baseline is zero: the mean of the training data if it was standardised, the value 0 with scaling "unit", and
    "not missing" for the features that mark missing values. For texts it is a zero vector in place of each token's
    embedding; the values of an embedding are summed to one value per token. If the model scales each series by itself,
    its mean and deviation are treated as constants, and the baseline is that mean. Lengths do not change.

    The map shows what this model uses, which may differ from what defines the class. Other weights must give another
    map; the tests check that, for all weights and for those of the head only.

    The model is called in eval mode; the model, its gradients and torch's generators do not change.

    Args:
        model: a `SequenceClassifier`, or any model of x (batch, time, features) and lengths that returns logits.
        x: (batch, time, features) of the parameters' dtype, scaled as in training; or (batch, time) tokens.
        lengths: (batch,) int64 time steps, or None if no sequence is padded (default None).
        target: class whose logit is explained, one for all or (batch,) int64 (default: the predicted classes).
        method: "integrated-gradients" or "gradient-times-input" (default "integrated-gradients").
        steps: points on the line from the baseline, by Gauss-Legendre quadrature, which for smooth functions needs far
            fewer than equal distances (default 64); gradient times input ignores it. Take more if the sum is off, as
            with layer norm or a stem, which are almost discontinuous near a baseline where all units are 0.

    Returns:
        float32 of the shape and on the device of ``x``: a value for each number or token, in units of the logit; 0 past
        each length.

    Raises:
        InputError: ``x``, ``lengths`` or ``target`` do not fit the model.
        ConfigError: ``method`` or ``steps`` is out of range.

    Source: integrated gradients M. Sundararajan, A. Taly and Q. Yan, arXiv:1703.01365, section 3; the gradient of a
    class's score K. Simonyan, A. Vedaldi and A. Zisserman, arXiv:1312.6034, section 3; checks of such maps
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
    if isinstance(model, Ensemble):
        raise InputError("attribute explains a single model, got an ensemble: use one of its model.members")
    check_choice("method", method, get_args(Method))
    check_whole("steps", steps, 1)
    if not isinstance(x, Tensor) or x.dim() not in (2, 3):
        got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"x must be a tensor (batch, time, features), or (batch, time) of tokens, got {got}")
    if lengths is not None and not isinstance(lengths, Tensor):
        raise InputError(f"lengths must be an int64 tensor (batch,), got {type(lengths).__name__}")
    of_tokens = x.dim() == 2 or not x.is_floating_point()  # which may have n-grams
    if not x.shape[1]:
        return torch.zeros_like(x.flatten(1) if of_tokens else x, dtype=torch.float32)
    points, weights = _path(method, steps)
    with inference(model, gradients=True):
        device = next(model.parameters(), x).device
        given, lengths = x.detach().to(device), None if lengths is None else lengths.to(device)
        labels = _labels(model, given, lengths, target)
        read, vectors = _vectors(model, given, lengths)
        vectors = vectors if lengths is None else clear_padding(vectors, lengths)
        means = _mean_gradients(read, vectors, lengths, labels, points.to(vectors), weights.to(vectors))
        values = vectors * means
        if isinstance(model, SequenceClassifier) and not of_tokens:
            values = model.front.summed(values)
    return (values.sum(dim=2) if of_tokens else values).float().to(x.device)


def _path(method: Method, steps: int) -> tuple[Tensor, Tensor]:
    """Return the points between 0, the baseline, and 1, the input, and the weights of the gradients there."""
    if method == "gradient-times-input":
        return torch.ones(1), torch.ones(1)
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


def _labels(model: nn.Module, x: Tensor, lengths: Tensor | None, target: int | Tensor | None) -> Tensor:
    """Return (batch,) int64: the class to explain for each sequence."""
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
    """Return a function of vectors (batch, time, features), and the vectors of ``x``."""
    if x.is_floating_point() and x.dim() == 3 and not (isinstance(model, SequenceClassifier) and model.front.scales):
        return model, x.clone()
    if not isinstance(model, SequenceClassifier) or (model.embedding is None and x.dim() == 2):
        raise InputError(f"x must be (batch, time, features) for {type(model).__name__}, got {tuple(x.shape)}")
    if not is_as_made(model):
        what = "series scaled by themselves" if x.is_floating_point() else "tokens"
        raise InputError(
            f"{what} cannot be explained for a model with hooks or a changed forward: remove them, or pass vectors"
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
    # Sequences are independent, so the gradient of the sum holds the gradient of each.
    (gradient,) = torch.autograd.grad(logits.gather(1, labels.unsqueeze(1)).sum(), x, materialize_grads=True)
    return gradient


def _at_once(x: Tensor) -> int:
    """Return how many sequences of the length of ``x`` fit in one batch."""
    return max(1, AT_ONCE // max(1, x.shape[1]))
