"""Compare a hand-written training loop, `unroll.fit` and torch.nn, and predictions of the same models, in turn.

In the hand-written loop, batches are slices of scaled float32 images; `fit` indexes and scales its batches itself. If
possible, it takes a whole step in one call of the kernels ("fit, fused step"); "fit" is its way for all other models.
All clip gradients and use torch's fused Adam. torch.nn counts with one thread or with all, whichever is faster.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import cyclopts
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import unroll
from benchmarks.show import finish
from unroll.bench import Report, models
from unroll.bench.clock import Contender, compare, in_process, with_threads
from unroll.bench.steps import MODULES, CellName

STEPS = 10
BATCH = 64


class Called(nn.Module):
    """A model as a part of another, for which `fit` goes operation by operation."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the model's logits."""
        logits: Tensor = self.model(x, lengths)
        return logits


class TorchClassifier(nn.Module):
    """torch.nn's recurrence and a linear head."""

    def __init__(self, cell: CellName, hidden: int) -> None:
        super().__init__()
        self.recurrence = MODULES[cell](28, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 10)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits (batch, classes) of x (batch, time, features), all of full length."""
        logits: Tensor = self.head(self.recurrence(x)[0][:, -1])
        return logits


def own_loop(model: nn.Module, data: unroll.SequenceData) -> Callable[[], None]:
    """Return a function that takes `STEPS` steps, written as users write them."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    x = data.x.float() / 255

    def steps() -> None:
        model.train()
        for step in range(STEPS):
            batch = slice(step * BATCH, (step + 1) * BATCH)
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(model(x[batch]), data.y[batch]))
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return steps


def by_fit(model: nn.Module, data: unroll.SequenceData) -> Callable[[], object]:
    """Return a function that takes as many steps by `unroll.fit`."""
    config = unroll.TrainConfig(
        epochs=models.PASSES, batch_size=BATCH, lr=1e-4, optimizer="adam", weight_decay=0.0, schedule="constant",
        val_fraction=0.0, device="cpu",
    )  # fmt: skip
    results = unroll.fit(model, unroll.Splits(data, data, "random images", "here"), config)
    return lambda: next(results)


def answers(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """Return a function that reads ``x``, written as users write it."""

    def read() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = model(x)
            return logits

    model.eval()
    return read


def main(*, hidden: int = 150, images: int = 1_000, rounds: int = 9, out: Path | None = None) -> None:
    """Time training steps and answers in turn and print medians and ratios, round by round.

    Args:
        hidden: units of each model.
        images: read at once for the answers.
        rounds: of each.
        out: folder for bench.json and bench.png, new or empty.
    """
    report = Report(full=False)
    threads = torch.get_num_threads()
    cells: tuple[CellName, ...] = ("rnn", "gru", "lstm")
    for cell in cells:
        data = models.random_images(STEPS * BATCH)
        peer = TorchClassifier(cell, hidden)
        model = unroll.SequenceClassifier(28, 10, cell=cell, hidden_size=hidden)
        trained = [
            Contender(f"nn.{cell.upper()}", with_threads(own_loop(copy.deepcopy(peer), data)), STEPS),
            Contender("own loop", {threads: in_process(own_loop(copy.deepcopy(model), data))}, STEPS),
            Contender("fit", {threads: in_process(by_fit(Called(copy.deepcopy(model)), data))}, STEPS),
            Contender("fit, fused step", {threads: in_process(by_fit(copy.deepcopy(model), data))}, STEPS),
        ]
        title = f"{cell}, 28 × 28, {hidden} units, batch {BATCH}: training"
        report.add(compare(title, trained, "own loop", unit="training step", rounds=rounds))
        many = models.random_images(images)
        read = many.x.float() / 255
        asked = [
            Contender(f"nn.{cell.upper()}", with_threads(answers(copy.deepcopy(peer), read))),
            Contender("own loop", {threads: in_process(answers(copy.deepcopy(model), read))}),
            Contender("evaluate", {threads: in_process(lambda model=model, many=many: unroll.evaluate(model, many))}),
        ]
        title = f"{cell}, 28 × 28, {hidden} units: answers to {images:,} images"
        report.add(compare(title, asked, "own loop", unit="evaluation", rounds=rounds))
    finish(report, out)


if __name__ == "__main__":
    cyclopts.run(main)
