"""Batch waiting requests: the model reads them in one call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

from torch import Tensor

from ..data.sequences import SequenceData
from . import limits
from .served import Served

T = TypeVar("T")


class Waiting(NamedTuple):
    """A request's sequences, and the future of its answer."""

    served: Served
    data: SequenceData
    answer: asyncio.Future[Tensor]


class Batcher:
    """Runs the model in one thread. Requests that arrive meanwhile form the next batch; a batch never waits to fill.

    Args:
        together: False gives each request a batch of its own.
        seen: called with the number of sequences of each batch.
    """

    def __init__(self, together: bool = True, seen: Callable[[int], object] = lambda _: None) -> None:
        self.together = together
        self.waiting: deque[Waiting] = deque()
        self._seen = seen
        self._thread = ThreadPoolExecutor(1, "model")
        self._task: asyncio.Task[None] | None = None

    async def ask(self, served: Served, data: SequenceData) -> Tensor:
        """Return the probabilities (N, classes) of ``data``."""
        answer: asyncio.Future[Tensor] = asyncio.get_running_loop().create_future()
        self.waiting.append(Waiting(served, data, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await answer

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``, run in the model's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def _work(self) -> None:
        while self.waiting:
            batch = self._next()
            if not batch:  # all clients have gone
                continue
            self._seen(sum(len(waiting.data) for waiting in batch))
            try:
                _settle(batch, await self._read(batch))
            except Exception:  # retry one by one: only the request at fault gets the error
                for waiting in batch:
                    try:
                        _settle([waiting], await self._read([waiting]))
                    except Exception as error:
                        _settle([waiting], error)

    async def _read(self, batch: Sequence[Waiting]) -> list[Tensor]:
        return await self.run(partial(batch[0].served.answer, [waiting.data for waiting in batch]))

    def _next(self) -> list[Waiting]:
        """Take the oldest request, and all others of its run that fit into the batch."""
        batch: list[Waiting] = []
        later: deque[Waiting] = deque()
        count = longest = 0
        while self.waiting:
            waiting = self.waiting.popleft()
            if waiting.answer.done():
                continue
            n, time = count + len(waiting.data), max(longest, waiting.data.time)
            fits = self.together and n <= limits.BATCH and n * time <= limits.BATCH_STEPS
            if not batch or (fits and waiting.served is batch[0].served):
                batch.append(waiting)
                count, longest = n, time
                if not self.together:
                    break
            else:
                later.append(waiting)
        later.extend(self.waiting)
        self.waiting = later
        return batch


def _settle(batch: Sequence[Waiting], outcome: Sequence[Tensor] | Exception) -> None:
    for number, waiting in enumerate(batch):
        if waiting.answer.done():  # the client has gone
            continue
        if isinstance(outcome, Exception):
            waiting.answer.set_exception(outcome)
        else:
            waiting.answer.set_result(outcome[number])
