"""One epoch of the tutorial's model: the tutorial's pipeline, nn.RNN, unroll and peers outside torch, in turn.

The tutorial's pipeline reads each image as a Pillow image, turns it into a tensor, and collates 64 of them in a
DataLoader without workers; its ToTensor is written out here, because torchvision cannot be imported with a CPU build
of torch. "nn.RNN" is torch's own module on resident data, with everything else as in unroll. The peers are in peers.py;
those that are not installed are named and left out. All train the same model (28 steps of 28 pixels, 150 tanh units)
from the same weights with as many batches per epoch and Adam; torch's contenders run with one thread and with all, of
which the faster counts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cyclopts
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import unroll
from benchmarks.peers import Peer
from benchmarks.show import announced, arrays, finish, logits, open_peers
from unroll.bench import Report, clock, models
from unroll.bench.clock import Contender, Results, compare, with_threads
from unroll.bench.limit import LIMIT, product
from unroll.models.modes import inference
from unroll.training.device import autocast

PRODUCTS = 20  # in a round of the limit
PEERS = ("Keras, JAX", "Keras, TensorFlow", "JAX, scan and jit")
CHECKED = 1_000  # images whose logits are compared before anything is timed


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

    def copy_from(self, source: nn.Module) -> TutorialModel:
        """Take the weights of a classifier that has them in the same order."""
        with torch.no_grad():
            for own, theirs in zip(self.parameters(), source.parameters(), strict=True):
                own.copy_(theirs)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, 10) of images (batch, 28, 28)."""
        _, hidden = self.basic_rnn(x.permute(1, 0, 2), torch.zeros(1, x.shape[0], 150))
        logits: Tensor = self.FC(hidden[0])
        return logits


def tutorial_epoch(model: TutorialModel, data: unroll.SequenceData) -> Callable[[], float]:
    """Return a function that trains for an epoch as in the tutorial and returns the mean loss of its batches."""
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


def fit_epoch(
    model: nn.Module, splits: unroll.Splits, precision: models.Precision = "fp32"
) -> Callable[[], unroll.EpochResult]:
    """Return a function that trains for an epoch with recipe "tutorial"."""
    recipe = unroll.RECIPES["tutorial"].changed(epochs=models.PASSES, device="cpu", precision=precision)
    results = unroll.fit(model, splits, recipe.train)
    return lambda: next(results)


def logits_of(model: nn.Module, x: Tensor, precision: models.Precision = "fp32") -> Results:
    """Return the logits of x (batch, 28, 28)."""
    with inference(model), autocast(x.device, precision):
        return {"logits": model(x)}


def contenders(splits: unroll.Splits) -> tuple[list[Contender], Results, dict[str, np.ndarray]]:
    """Return the contenders of torch and the limit, the expected logits, and the data for the peers."""
    model = models.classifier()
    x = splits.test.x[:CHECKED].float() / 255
    epochs = -(-len(splits.train) // models.SHAPE.batch)
    flops = models.FLOPS * epochs
    tutorial, peer = TutorialModel().copy_from(model), models.TorchClassifier(model)
    first = [(tutorial, tutorial_epoch(tutorial, splits.train)), (peer, fit_epoch(peer, splits))]
    contenders = [
        Contender(name, with_threads(epoch), flops=flops, results=given(logits_of(trained, x)))
        for name, (trained, epoch) in zip(("tutorial", "nn.RNN"), first, strict=True)
    ]
    precisions: dict[str, models.Precision] = {"unroll": "fp32"}
    if refused := models.refused_bf16():
        contenders.append(refused)
    else:
        precisions[models.BF16] = "bf16"
    for name, precision in precisions.items():
        own = copy.deepcopy(model)
        runs = models.own_runs(fit_epoch(own, splits, precision))
        tolerance = clock.FLOAT32 if precision == "fp32" else clock.BFLOAT16
        right = given(logits_of(own, x, precision))
        contenders.append(Contender(name, runs, flops=flops, results=right, tolerance=tolerance))
    limit = product()
    contenders.append(replace(limit, runs={threads: many(run) for threads, run in limit.runs.items()}, units=PRODUCTS))
    return contenders, logits_of(models.reference(model), x.double()), arrays(model, splits)


def given(results: Results) -> Callable[[], Results]:
    """Return a function that returns the logits computed before the first epoch changes the weights."""
    return lambda: results


def peer_contender(peer: Peer, flops: float | None) -> Contender:
    """Return a peer's epoch as a contender."""
    runs: clock.Runs = {None: partial(peer.run, "epoch")}
    return Contender(peer.name, runs, flops=flops, results=given({"logits": logits(peer)}))


def many(run: clock.Run) -> clock.Run:
    """Return a run of `PRODUCTS` calls for each."""
    return lambda count: run(PRODUCTS * count)


def main(
    data: str = "mnist",
    *,
    rounds: int = 5,
    images: int | None = None,
    skip: list[str] | None = None,
    peers: Path | None = None,
    threads: int | None = None,
    out: Path | None = None,
) -> None:
    """Time epochs in turn and print medians and ratios, round by round.

    Args:
        data: data set of 28×28 images.
        rounds: epochs of each, after one of each that is not counted.
        images: how many of the training images make an epoch; default all.
        skip: contenders to leave out, by name.
        peers: Python of an environment that has the peers; default the one that runs this.
        threads: of torch; default as torch has it.
        out: folder for bench.json and bench.png, new or empty.
    """
    if threads:
        torch.set_num_threads(threads)
    splits = unroll.load(data).scaled("unit")
    if images:
        splits = replace(splits, train=splits.train.subset(torch.arange(min(images, len(splits.train)))))
    left_out = skip or []
    report = Report(full=False)
    own, right, read = contenders(splits)
    wanted = [name for name in PEERS if name not in left_out]
    with open_peers(wanted, read, peers, report) as running:
        everyone = [*own, *(peer_contender(peer, own[0].flops) for peer in running)]
        timed = [announced(contender) for contender in everyone if contender.name not in left_out]
        limit = LIMIT if LIMIT not in left_out else None
        title = f"an epoch of {data}, {len(splits.train):,} images (28×28, 150 tanh, batch 64)"
        report.add(
            compare(title, timed, "unroll", unit="epoch", expected=right, rounds=rounds, shortest=0, limit=limit)
        )
    finish(report, out)


if __name__ == "__main__":
    cyclopts.run(main)
