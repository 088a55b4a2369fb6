"""Build a model from stored weights, after comparing them with its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..config import ModelConfig
from ..formatting import shown
from ..validation import check_whole
from .classifier import SequenceClassifier, build

LAYERS = 100  # layers may have no tensors, if their cells have no parameters


def load_weights(
    config: ModelConfig,
    input_size: int,
    num_classes: int,
    vocabulary_size: int,
    tensors: Mapping[str, Tensor],
    mask_size: int = 0,
    ngram_buckets: int = 0,
) -> SequenceClassifier:
    """Return a model with the weights ``tensors``, on the CPU, without initialising it first.

    Names, shapes and dtypes are compared before memory is allocated, as untrusted settings may ask for any size.

    Args:
        config: the settings.
        input_size: features per time step of the data; unused for texts.
        num_classes: of the data.
        vocabulary_size: number of tokens; 0 if time steps are features.
        tensors: by name, as in `torch.nn.Module.state_dict`.
        mask_size: how many features, the last ones, say what is missing (default 0).
        ngram_buckets: number of vectors that n-grams of tokens share (default 0).

    Raises:
        ValueError: the tensors do not fit such a model, or contain NaN or infinite weights; the message says which.
        ConfigError: a setting is out of range.
    """
    _check_sizes(config, input_size, num_classes, vocabulary_size, ngram_buckets, tensors)
    known = ":" not in config.cell  # a user's own cell may do anything in its constructor, so it is built normally
    sizes = input_size, num_classes, vocabulary_size, mask_size, ngram_buckets
    model = _hollow(config, *sizes) if known else build(config, *sizes)
    _compare(model, tensors)
    own = (
        {name: value.clone() for name, value in tensors.items()} if known else dict(tensors)
    )  # otherwise load_state_dict copies
    model.load_state_dict(own, assign=known)
    check_finite(model)
    return model


def check_finite(model: SequenceClassifier) -> None:
    """Raise `ValueError` if a weight is NaN or infinite, which makes a model useless."""
    bad = next((name for name, value in model.named_parameters() if not is_finite(value.detach())), None)
    if bad is not None:
        raise ValueError(f"{bad} contains NaN or infinite weights")


def is_finite(value: Tensor) -> bool:
    """Tell whether no number of a tensor is NaN or infinite."""
    # The sum takes a tenth of the time; it is not finite if any value is not, but it may also overflow.
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


def _check_sizes(
    config: ModelConfig,
    input_size: int,
    num_classes: int,
    vocabulary_size: int,
    ngram_buckets: int,
    tensors: Mapping[str, Tensor],
) -> None:
    """Compare the tensors whose shapes follow from the settings; they bound the size of the model."""
    for what, size, least in (("input_size", input_size, 1), ("num_classes", num_classes, 2)):
        check_whole(what, size, least)
    directions = 2 if config.bidirectional else 1
    if config.num_layers > max(LAYERS, len(tensors)):
        raise ValueError(f"num_layers is {config.num_layers:,}, but there are only {len(tensors):,} weight tensors")
    expected = {"head.weight": (num_classes, directions * config.hidden_size)}
    if vocabulary_size:
        expected["embedding.weight"] = vocabulary_size, config.embedding_size
    if ngram_buckets:
        expected["ngrams.weight"] = 1 + ngram_buckets, config.embedding_size
    for name, shape in expected.items():
        if name not in tensors or tensors[name].shape != shape:
            _complain(name, shape, tensors)
    if not vocabulary_size and input_size > sum(value.numel() for value in tensors.values()):
        raise ValueError(f"input_size is {input_size:,}, but there are fewer weights than that")


class _Hollow(TorchFunctionMode):
    """Skip random initialisation of meta tensors, for which torch would load its compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        if func in (nn.init.normal_, nn.init.uniform_):  # called so by torch's own modules; what they call is not seen
            return options["tensor"]
        return func(*args, **options)


def _hollow(config: ModelConfig, *sizes: int) -> SequenceClassifier:
    """Return a model of unroll's own cells on the meta device."""
    with torch.device("meta"), _Hollow():
        model = build(replace(config, init="torch", forget_bias=None), *sizes)
    model.config = replace(model.config, init=config.init, forget_bias=config.forget_bias)
    return model


def _compare(model: SequenceClassifier, tensors: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    for name, value in own.items():
        if name not in tensors or tensors[name].shape != value.shape:
            _complain(name, tuple(value.shape), tensors)
        if tensors[name].dtype != value.dtype:
            raise ValueError(f"{name} must be {value.dtype}, got {tensors[name].dtype}")
    unknown = next((name for name in tensors if name not in own), None)
    if unknown is not None:
        raise ValueError(f"the model has no weights {shown(unknown)}")


def _complain(name: str, shape: tuple[int, ...], tensors: Mapping[str, Tensor]) -> None:
    got = tuple(tensors[name].shape) if name in tensors else "none"
    raise ValueError(f"the weights do not fit the settings: {name} must have shape {shape}, got {shown(got)}")
