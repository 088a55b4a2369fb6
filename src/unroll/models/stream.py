"""Read endless sequences step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from ..errors import InputError

StreamState = Any  # tuples of tensors, see `Stream.state`


@final
class Stream:
    """Read sequences as they arrive, step by step or in chunks; made by `SequenceClassifier.stream`.

    After each step, the logits equal those of the model in eval mode for all steps so far, but only a state of fixed
    size is kept: as large after a million steps as after one. With frames, the steps that have not filled one are kept
    too, and read for the answer as the last frame of a sequence is. Only a model that scales each series by itself
    keeps all steps and reads them again, as each changes the scale of those before. There are no gradients, and nothing
    is stored on the model, so any number of streams may share it.

    Example:
        >>> import unroll
        >>> model = unroll.SequenceClassifier(input_size=3, num_classes=2, cell="gru", readout="mean").eval()
        >>> x = torch.randn(1, 100, 3)
        >>> stream = model.stream()
        >>> for t in range(60):
        ...     logits = stream.step(x[:, t])
        >>> torch.allclose(logits, model(x[:, :60]), atol=1e-5)
        True
        >>> state = stream.state  # to save, or to continue from more than once
        >>> logits = stream.feed(x[:, 60:])
        >>> torch.allclose(logits, model(x), atol=1e-5)
        True
        >>> stream.state = state  # back to the state after 60 steps
    """

    def __init__(
        self,
        read: Callable[[Tensor, StreamState, Tensor | None], tuple[Tensor, StreamState]],
        state: StreamState,
        axes: tuple[str, ...] = ("batch", "features"),
        grows: bool = False,
    ) -> None:
        self._read = read
        self._state = state
        self._grows = grows
        self._axes = axes

    @property
    def state(self) -> StreamState:
        """The state of the stream: tuples of tensors (batch, …), with a None among them before the first step.

        ``torch.save`` can store it. It is never changed in place. Set it on a stream with the same model and batch size
        to continue from there.

        Raises:
            InputError: when set, if it does not fit the stream.
        """
        return self._state

    @state.setter
    def state(self, state: StreamState) -> None:
        layers, held, kept = self._state
        if not isinstance(state, tuple) or len(state) != 3 or _form(state[0]) != _form(layers):
            raise InputError(
                f"state must be from a stream of the same model and batch size, {_form(layers)}, "
                f"got {_form(state[0]) if isinstance(state, tuple) and state else type(state).__name__}"
            )
        if None not in (held, state[1]) and _form(state[1]) != _form(held):
            raise InputError(f"state must be from a stream with the same readout, {_form(held)}, got {_form(state[1])}")
        if _form(self._fixed(state[2])) != _form(self._fixed(kept)):
            raise InputError(f"state must be from a stream with the same frames and scaling, got {_form(state[2])}")
        self._state = state

    def _fixed(self, kept: Any) -> Any:
        """Return kept time steps without their number, if that grows."""
        return tuple(part[:, :0] if self._grows and part.dim() == 3 else part for part in kept)

    def step(self, x_t: Tensor) -> Tensor:
        """Read one step; return logits (batch, classes).

        Args:
            x_t: (batch, features) of the parameters' dtype, scaled as in training; or (batch,) tokens, or
                (batch, 1 + n-grams), as for the model.

        Raises:
            InputError: ``x_t`` does not fit.
        """
        if not isinstance(x_t, Tensor) or x_t.dim() != len(self._axes):
            got = f"shape {tuple(x_t.shape)}" if isinstance(x_t, Tensor) else type(x_t).__name__
            axes = f"({', '.join(self._axes)}{',' if len(self._axes) == 1 else ''})"
            raise InputError(f"step expects one time step {axes}, got {got}; feed() takes a chunk")
        return self.feed(x_t.unsqueeze(1))

    def feed(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Read a chunk; return the logits (batch, classes) after its last step.

        Args:
            x: (batch, time, features) of the parameters' dtype, scaled as in training; or tokens, as for the
                model; any number of steps.
            lengths: (batch,) int64 steps of the chunk that belong to each sequence; the rest is ignored; None takes all
                (default None).

        Raises:
            InputError: ``x`` or ``lengths`` do not fit.
        """
        with torch.inference_mode():
            logits, self._state = self._read(x, self._state, lengths)
        return logits


def _form(state: Any) -> str:
    """Describe the nested shapes of tensors in words."""
    if isinstance(state, Tensor):
        return " × ".join(map(str, state.shape))
    if isinstance(state, tuple | list):
        return f"({', '.join(map(_form, state))})"
    return type(state).__name__
