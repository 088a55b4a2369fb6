"""Requests that wait are read by the model together."""

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
    """Sequences of a request, and where its answer goes."""

    served: Served
    data: SequenceData
    answer: asyncio.Future[Tensor]


class Batcher:
    """One thread reads; what comes meanwhile waits, and then is read at once. Nobody waits for others to come.

    Args:
        together: False reads each request by itself.
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
        """Return what ``work`` does in the thread of the model."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def _work(self) -> None:
        while self.waiting:
            batch = self._next()
            if not batch:  # all of them have given up
                continue
            self._seen(sum(len(one.data) for one in batch))
            try:
                _settle(batch, await self._read(batch))
            except Exception:  # of one of them, who shall be the only one to hear of it
                for one in batch:
                    try:
                        _settle([one], await self._read([one]))
                    except Exception as error:
                        _settle([one], error)

    async def _read(self, batch: Sequence[Waiting]) -> list[Tensor]:
        return await self.run(partial(batch[0].served.answer, [one.data for one in batch]))

    def _next(self) -> list[Waiting]:
        """Take the request that has waited longest, and those of the same run that fit into one batch with it."""
        batch: list[Waiting] = []
        left: deque[Waiting] = deque()
        count = longest = 0
        while self.waiting:
            one = self.waiting.popleft()
            if one.answer.done():
                continue
            n, time = count + len(one.data), max(longest, one.data.time)
            fits = self.together and n <= limits.BATCH and n * time <= limits.BATCH_STEPS
            if not batch or (fits and one.served is batch[0].served):
                batch.append(one)
                count, longest = n, time
                if not self.together:
                    break
            else:
                left.append(one)
        left.extend(self.waiting)
        self.waiting = left
        return batch


def _settle(batch: Sequence[Waiting], outcome: Sequence[Tensor] | Exception) -> None:
    for number, one in enumerate(batch):
        if one.answer.done():  # its asker has gone
            continue
        if isinstance(outcome, Exception):
            one.answer.set_exception(outcome)
        else:
            one.answer.set_result(outcome[number])
