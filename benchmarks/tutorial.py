"""One epoch of the tutorial's model: the tutorial's pipeline, nn.RNN's kernels and unroll's, in turn in one process.

The tutorial's pipeline reads each image as a Pillow image, turns it into a tensor, and collates 64 of them in a
DataLoader without workers; its ToTensor is written out here, because torchvision cannot be imported beside a CPU build
of torch. "nn.RNN" is torch's own recurrence on resident data, with everything else as in unroll. All train the same
model (28 steps of 28 pixels, 150 tanh units) with as many batches per epoch and Adam.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cyclopts
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import unroll
from unroll.config import Backend
from unroll.machine import describe


class TutorialImages(Dataset[tuple[Tensor, int]]):
    """Images one by one, as torchvision's MNIST with ToTensor gives them."""

    def __init__(self, data: unroll.SequenceData) -> None:
        self.images, self.labels = data.x, data.y

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy(), mode="L")
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(28, 28, 1)
        return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255), int(self.labels[index])


class TutorialModel(nn.Module):
    """The tutorial's classifier, time first inside."""

    def __init__(self) -> None:
        super().__init__()
        self.basic_rnn = nn.RNN(28, 150)
        self.FC = nn.Linear(150, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, 10) of images (batch, 28, 28)."""
        _, hidden = self.basic_rnn(x.permute(1, 0, 2), torch.zeros(1, x.shape[0], 150))
        logits: Tensor = self.FC(hidden[0])
        return logits


def tutorial_epoch(data: unroll.SequenceData) -> Callable[[], float]:
    """Return a function that trains for an epoch the tutorial's way and returns the mean loss of its batches."""
    torch.manual_seed(0)
    model = TutorialModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(TutorialImages(data), batch_size=64, shuffle=True, num_workers=0)

    def epoch() -> float:
        loss_sum = accuracy_sum = 0.0
        model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            logits = model(images.view(-1, 28, 28))
            loss = criterion(logits, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach().item()
            accuracy_sum += (100.0 * (logits.argmax(1) == labels).sum() / len(labels)).item()
        return loss_sum / len(loader)

    return epoch


def unroll_epoch(splits: unroll.Splits, epochs: int, backend: Backend) -> Callable[[], float]:
    """Return a function that trains for an epoch with recipe "tutorial" and returns its mean loss."""
    recipe = unroll.RECIPES["tutorial"].changed(epochs=epochs, device="cpu")
    torch.manual_seed(0)
    model = unroll.SequenceClassifier(28, 10, init="torch", backend=backend)
    results = unroll.fit(model, splits.scaled(recipe.scaling), recipe.train)
    return lambda: next(results).train_loss


def main(data: str = "mnist", pairs: int = 5, threads: int | None = None, out: Path | None = None) -> None:
    """Time epochs in turn and print medians and the ratio, pair by pair.

    Args:
        data: data set of 28×28 images.
        pairs: epochs of each, after one of each that is not counted.
        threads: of torch; default as torch has it.
        out: where to write the figures as JSON.
    """
    if threads:
        torch.set_num_threads(threads)
    splits = unroll.load(data)
    contenders = {
        "tutorial": tutorial_epoch(splits.train),
        "nn.RNN": unroll_epoch(splits, pairs + 1, "torch"),
        "unroll": unroll_epoch(splits, pairs + 1, "auto"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(pairs + 1):
        for name, epoch in contenders.items():
            start = time.perf_counter()
            loss = epoch()
            elapsed = time.perf_counter() - start
            if number:
                seconds[name].append(elapsed)
            print(
                f"{'warm-up' if not number else f'pair {number}':8} {name:9} {elapsed:6.2f} s  loss {loss:.4f}",
                flush=True,
            )
    ratios = {
        peer: [a / b for a, b in zip(seconds[peer], seconds["unroll"], strict=True)]
        for peer in contenders
        if peer != "unroll"
    }
    machine = describe()
    print(f"\nan epoch of {data} ({len(splits.train):,} images), median of {pairs}, {machine['threads']} threads, "
          f"{machine['processor']}, torch {machine['packages']['torch']}")  # fmt: skip
    for name, values in seconds.items():
        print(f"  {name:9} {statistics.median(values):6.2f} s  ({min(values):.2f} to {max(values):.2f})")
    for peer, found in ratios.items():
        ratio, spread = statistics.median(found), f"{min(found):.2f} to {max(found):.2f} over the pairs"
        print(f"  unroll is {ratio:.2f} times as fast as {peer} ({spread})")
    if out:
        out.write_text(json.dumps({"machine": machine, "data": data, "seconds": seconds, "ratios": ratios}, indent=2))


if __name__ == "__main__":
    cyclopts.run(main)
