"""Streams over HTTP. The server keeps no state: it travels with each request and its response."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.unusual import nothing_seen, seen_with, unusual_stream
from ..errors import DataError
from ..evaluation.calibration import probabilities as calibrated
from ..models.classifier import SequenceClassifier
from ..models.modes import inference
from ..models.stream import StreamState
from . import limits
from .served import OVERFLOW, Served

MOST_READ = 2**53  # steps: JSON holds integers exactly up to here
HEAD = struct.Struct("<8sQ")  # the run's digest, and the number of steps read


class State(NamedTuple):
    """The state of a stream.

    Attributes:
        read: number of steps so far
        last: (features,) the last value of each feature, to fill missing ones; empty if the run fills none
        seen: what the steps are like, from `unroll.data.unusual.seen_with`
        inner: the state of `unroll.models.stream.Stream`; None before the first step
    """

    read: int
    last: Tensor
    seen: Tensor
    inner: Any


class Streams:
    """Reads sequences piece by piece, for a unidirectional run."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.model: SequenceClassifier = served.run.single("a stream")
        digest = hashlib.blake2b(digest_size=8)
        for name, value in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        self.mark: bytes = digest.digest()
        rule = served.preparation.missing
        last = torch.tensor(rule.means if rule else (), dtype=torch.float32)
        self.start: State = State(0, last, nothing_seen(served.preparation), None)
        # A state's tensors are known from a stream that has read one step.
        with inference(self.model):
            stream = self.model.stream()
            # Of one step; any number of n-grams shows the form.
            size = {"features": self.model.input_size, "n-grams": 2}
            axes = [size.get(axis, 1) for axis in self.model.step_axes]
            stream.step(torch.zeros(axes, dtype=torch.int64 if self.model.embedding is not None else torch.float32))
        self.form: StreamState = stream.state
        self.keeps_all: bool = self.model.front.scales  # so the state grows with what has been read
        limit = served.preparation.time_steps
        self.most: int | None = None if limit is None else limit.longest

    def unpack(self, text: str | None) -> State:
        """Return the state that was sent; None starts a stream.

        Raises:
            DataError: this run did not return that state.
        """
        if text is None:
            return self.start
        wrong = DataError(
            f"the run {self.served.name} did not return this state: send null first, then each answer's state"
        )
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise wrong from None
        if len(content) < HEAD.size or content[:8] != self.mark:
            raise wrong
        _, read = HEAD.unpack_from(content)
        if read > (limits.STEPS if self.keeps_all else MOST_READ):
            raise wrong
        form, at = self._form(read), HEAD.size
        if len(content) != at + sum(t.numel() * t.element_size() for t in (*self.start[1:3], *_tensors(form))):
            raise wrong

        def taken(like: Tensor) -> Tensor:
            nonlocal at
            kind = like.numpy().dtype
            array = np.frombuffer(content, kind, like.numel(), at).reshape(tuple(like.shape)).copy()
            at += array.nbytes
            if not np.isfinite(array).all():
                raise wrong
            return torch.from_numpy(array)

        last, seen, inner = taken(self.start.last), taken(self.start.seen), _mapped(taken, form)
        if inner[2] and int(inner[2][1]) != read:
            raise wrong
        return State(read, last, seen, inner)

    def _form(self, read: int) -> Any:
        """Return a state of the shape after ``read`` steps."""
        if not self.keeps_all:
            return self.form
        layers, held, (steps, count) = self.form
        return layers, held, (steps.new_empty(1, read, steps.shape[2]), count)

    def pack(self, state: State) -> str:
        """Return a state as text; its length is constant unless the model keeps all steps."""
        parts = [state.last, state.seen, *_tensors(state.inner)]
        content = HEAD.pack(self.mark, state.read) + b"".join(t.contiguous().numpy().tobytes() for t in parts)
        return base64.b64encode(content).decode()

    def of_steps(self, steps: list[list[float | None]], state: State) -> tuple[Tensor, State]:
        """Return raw time steps as model input, (1, time, input_size), and the state with what their values are like.

        Raises:
            DataError: they do not fit the run.
        """
        if self.served.kind == "texts":
            raise DataError(f"the run {self.served.name} reads texts: send {{'text': …}}")
        features, rule = self.served.features, self.served.preparation.missing
        for number, step in enumerate(steps):
            if len(step) != features:
                raise DataError(f"step {number + 1}: expected {features} numbers, got {len(step)}")
        with np.errstate(over="ignore"):
            given = self.served.run.marks.masked(np.array(steps, np.float64))
            values = given - np.array(self.served.preparation.offset or 0.0)
            x = torch.from_numpy(values.astype(np.float32)).unsqueeze(0)
        gaps = x.isnan()
        if x.isinf().any():
            raise DataError("a number is too large for float32")
        if gaps.any() and rule is None:
            raise DataError("a value is missing, but the training data had no missing values: send every value")
        state = state._replace(seen=seen_with(state.seen, x[0]))
        if rule is not None:
            # The last values go before the first step, so that gaps at the start of this piece are filled from them.
            x = torch.cat([state.last.view(1, 1, -1), x], dim=1)
            gaps = torch.cat([torch.zeros_like(gaps[:, :1]), gaps], dim=1)
            x = rule.fill(x, gaps)[:, 1:]
            state = state._replace(last=x[0, -1, :features].clone())
        return self.served.preparation.scaling.apply(x), state

    def of_text(self, text: str, state: State) -> tuple[Tensor, State]:
        """Return the ids of a text's tokens, (1, time) int64, and the state with what they are like.

        Raises:
            DataError: the run does not read texts, or the text has no token.
        """
        items = self.served.of_texts([text])
        assert items.data is not None
        if not int(items.data.steps_of_each[0]):
            raise DataError("the text has no token: send a piece with a word")
        if items.data.notes:  # cut
            raise self._too_long("more in this piece")
        x = items.data.batch(slice(None)).x
        return x, state._replace(seen=seen_with(state.seen, x[0], len(text)))

    def feed(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a piece; return the probabilities (classes,) after it, as if the sequence ended there, and the state.

        Args:
            x: (1, time, input_size) scaled, or (1, time) tokens; at least one step.
            state: the state before the piece.

        Raises:
            DataError: the model's output is not finite, or the stream is too long.
        """
        if self.most is not None and state.read + x.shape[1] > self.most:
            raise self._too_long(f"{state.read + x.shape[1]:,}")
        if self.keeps_all and state.read + x.shape[1] > limits.STEPS:
            raise DataError(
                f"the run {self.served.name} scales each series by itself, so a stream of it keeps all time steps: "
                f"expected at most {limits.STEPS:,}, got {state.read + x.shape[1]:,}"
            )
        with inference(self.model):
            stream = self.model.stream()
            if state.inner is not None:
                stream.state = state.inner
            for piece in x.split(limits.BATCH_STEPS, dim=1):
                logits = stream.feed(piece)
            probabilities = calibrated(logits[0], self.served.run.calibration)
        if not all(bool(t.isfinite().all()) for t in (probabilities, *_tensors(stream.state))):
            raise DataError(OVERFLOW)
        return probabilities, state._replace(read=state.read + x.shape[1], inner=stream.state)

    def _too_long(self, got: str) -> DataError:
        unit, rule = self.served.preparation.unit, self.served.preparation.time_steps
        if rule is not None and rule.window is not None:
            return DataError(
                f"the run {self.served.name} reads windows of {self.most:,} {unit}s: expected at most one in a stream, "
                f"got {got}; begin the next stream with state null"
            )
        return DataError(
            f"the run {self.served.name} reads the first {self.most:,} {unit}s of each sequence: expected at most as "
            f"many in a stream, got {got}"
        )

    def warnings(self, state: State) -> list[str]:
        """Return how a stream differs from the training data, on one line; nothing if it does not."""
        line = unusual_stream(state.seen, state.read, self.served.preparation)
        return [line] if line else []


def _tensors(tree: Any) -> list[Tensor]:
    if tree is None:  # nothing has been read out
        return []
    return [tree] if isinstance(tree, Tensor) else [tensor for part in tree for tensor in _tensors(part)]


def _mapped(function: Any, tree: Any) -> Any:
    if tree is None:
        return None
    return function(tree) if isinstance(tree, Tensor) else tuple(_mapped(function, part) for part in tree)
