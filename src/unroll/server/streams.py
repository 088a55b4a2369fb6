"""A stream over HTTP: the server keeps nothing, the state travels with each request and its answer."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from ..evaluation.calibration import probabilities as calibrated
from ..models.modes import inference
from . import limits
from .served import OVERFLOW, Served

MOST_READ = 2**53  # steps: whole numbers in JSON are sure up to here
HEAD = struct.Struct("<8sQ")  # of which run, and how many steps have been read


class State(NamedTuple):
    """Where a stream stands.

    Attributes:
        read: steps so far
        last: (features,) the last values that were there, for those that are missing; empty without a rule for them
        inner: of `unroll.models.stream.Stream`; None before the first step
    """

    read: int
    last: Tensor
    inner: Any


class Streams:
    """Reads pieces of sequences for a run that reads forwards."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.model = served.run.model
        digest = hashlib.blake2b(digest_size=8)
        for name, value in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        self.mark = digest.digest()
        rule = served.preparation.missing
        self.start = State(0, torch.tensor(rule.means if rule else (), dtype=torch.float32), None)
        # What a state is made of: known from one that has read a step.
        with inference(self.model):
            stream = self.model.stream()
            size = () if self.model.embedding is not None else (self.model.input_size,)
            stream.step(torch.zeros(1, *size, dtype=torch.int64 if self.model.embedding is not None else torch.float32))
        self.form = stream.state
        self.size = HEAD.size + sum(t.numel() * t.element_size() for t in (self.start.last, *_tensors(self.form)))

    def unpack(self, text: str | None) -> State:
        """Return the state that was sent; None begins anew.

        Raises:
            DataError: it is not one that this run gave.
        """
        if text is None:
            return self.start
        wrong = DataError(f"state is not one that the run {self.served.name} gave: send null to begin, then what came")
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise wrong from None
        if len(content) != self.size or content[:8] != self.mark:
            raise wrong
        _, read = HEAD.unpack_from(content)
        if read > MOST_READ:
            raise wrong
        at = HEAD.size

        def taken(like: Tensor) -> Tensor:
            nonlocal at
            kind = like.numpy().dtype
            array = np.frombuffer(content, kind, like.numel(), at).reshape(tuple(like.shape)).copy()
            at += array.nbytes
            if not np.isfinite(array).all():
                raise wrong
            return torch.from_numpy(array)

        last = taken(self.start.last)
        return State(read, last, _mapped(taken, self.form))

    def pack(self, state: State) -> str:
        """Return a state as text, always of the same length."""
        parts = [state.last, *_tensors(state.inner)]
        content = HEAD.pack(self.mark, state.read) + b"".join(t.contiguous().numpy().tobytes() for t in parts)
        return base64.b64encode(content).decode()

    def of_steps(self, steps: list[list[float | None]], state: State) -> tuple[Tensor, State]:
        """Return what the model reads of raw time steps, (1, time, input_size), and the state with their last values.

        Raises:
            DataError: they do not fit the run.
        """
        if self.served.kind == "texts":
            raise DataError(f"the run {self.served.name} reads texts: send {{'text': …}}, a piece of it")
        features, rule = self.served.features, self.served.preparation.missing
        for number, step in enumerate(steps):
            if len(step) != features:
                raise DataError(f"step {number + 1}: expected {features} numbers, got {len(step)}")
        with np.errstate(over="ignore"):
            values = np.array(steps, np.float64) - np.array(self.served.preparation.offset or 0.0)
            x = torch.from_numpy(values.astype(np.float32)).unsqueeze(0)
        gaps = x.isnan()
        if x.isinf().any():
            raise DataError("a number is too large for float32")
        if gaps.any() and rule is None:
            raise DataError("a value is missing, and the run has not learned what to put there")
        if rule is not None:
            # The last values go before the first step, so that gaps at its beginning are filled from there.
            x = torch.cat([state.last.view(1, 1, -1), x], dim=1)
            gaps = torch.cat([torch.zeros_like(gaps[:, :1]), gaps], dim=1)
            x = rule.fill(x, gaps)[:, 1:]
            state = state._replace(last=x[0, -1, :features].clone())
        return self.served.preparation.scaling.apply(x), state

    def of_text(self, text: str) -> Tensor:
        """Return the numbers of a text's tokens, (1, time) int64.

        Raises:
            DataError: the run reads no texts, or there is no token.
        """
        items = self.served.of_texts([text])
        assert items.data is not None
        if not int(items.data.steps_of_each[0]):
            raise DataError("text has no token to read: send a piece with a word")
        return items.data.batch(slice(None)).x

    def feed(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a piece; return the probabilities (classes,) after it, as if the sequence ended there, and the state.

        Args:
            x: (1, time, input_size) scaled, or (1, time) tokens; at least one step.
            state: before it.

        Raises:
            DataError: what comes of it is no number.
        """
        with inference(self.model):
            stream = self.model.stream()
            if state.inner is not None:
                stream.state = state.inner
            for piece in x.split(limits.BATCH_STEPS, dim=1):
                logits = stream.feed(piece)
            probabilities = calibrated(logits[0], self.served.run.calibration)
        if not all(bool(t.isfinite().all()) for t in (probabilities, *_tensors(stream.state))):
            raise DataError(OVERFLOW)
        return probabilities, State(state.read + x.shape[1], state.last, stream.state)


def _tensors(tree: Any) -> list[Tensor]:
    return [tree] if isinstance(tree, Tensor) else [tensor for part in tree for tensor in _tensors(part)]


def _mapped(function: Any, tree: Any) -> Any:
    return function(tree) if isinstance(tree, Tensor) else tuple(_mapped(function, part) for part in tree)
