"""Measure the cost of each mistake in the tutorial, next to the correct way, one line per mistake.

The broken classes repeat the tutorial's defects; the correct ones are in `unroll.lessons`. Both train the tutorial's
classifier (28 steps of 28 pixels in [0, 1], 150 tanh units, Adam with a rate of 0.001, batches of 64) on the CPU.
"""

from __future__ import annotations

import statistics
import sys
import textwrap
import time
from collections.abc import Callable
from typing import NamedTuple

import cyclopts
import torch
from torch import Tensor, nn

import unroll
from unroll import SequenceData, lessons
from unroll.training.environment import describe

BATCH = 64
DRAWS = 10_000  # of random weights
Answers = list[tuple[Tensor, Tensor]]  # (logits, labels) of each batch
Row = tuple[str, str, str]

# The tutorial's own inputs, 4 instances at two time steps: (2, 4, 3), time first.
STEPS = torch.tensor([[[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 0, 1]], [[9, 8, 7], [0, 0, 0], [6, 5, 4], [3, 2, 1]]]) * 1.0


class LooseWeights(nn.Module):
    """The mistake of `SingleRNN` and `BasicRNN`: plain tensors from N(0, 1) instead of Parameters."""

    def __init__(self, n_inputs: int, n_neurons: int) -> None:
        super().__init__()
        self.inward, self.back = torch.randn(n_inputs, n_neurons), torch.randn(n_neurons, n_neurons)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs of both time steps, each (batch, n_neurons); the bias is zero and never moves."""
        before = torch.tanh(first @ self.inward)
        return before, torch.tanh(second @ self.inward + before @ self.back)


class KeptState(nn.Module):
    """The mistake of `CleanBasicRNN`: a random state of fixed size that is kept between calls."""

    def __init__(self, batch_size: int, n_inputs: int, n_neurons: int) -> None:
        super().__init__()
        self.cell = nn.RNNCell(n_inputs, n_neurons)
        self.state = torch.randn(batch_size, n_neurons)

    def forward(self, steps: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the outputs of the first two time steps of (time, batch, n_inputs), and the last of them."""
        outputs = []
        for number in (0, 1):
            self.state = self.cell(steps[number], self.state)
            outputs.append(self.state)
        return outputs, self.state


def every_layers_logits(images: Tensor, n_layers: int, n_states: int) -> Tensor:
    """The mistake of `ImageRNN`: the head reads all layers' final states; the initial state is for ``n_states``."""
    rnn, head = nn.RNN(28, 150, n_layers), nn.Linear(150, 10)
    _, states = rnn(images.transpose(0, 1), torch.zeros(n_states, len(images), 150))
    return head(states).flatten(0, 1)  # type: ignore[no-any-return]


def by_last_index(answers: Answers) -> float:
    """Return the accuracy in percent as the tutorial counts it: every batch as 64, one batch too few."""
    scores = [100.0 * int((logits.argmax(dim=1) == labels).sum()) / BATCH for logits, labels in answers]
    return sum(scores) / (len(scores) - 1)


def by_examples(answers: Answers) -> float:
    """Return the accuracy in percent: right over seen."""
    logits, labels = zip(*answers, strict=True)
    return lessons.get_accuracy(torch.cat(logits), torch.cat(labels))


def perfect(labels: Tensor) -> Answers:
    """Return the answers of a model that is always right."""
    return [(nn.functional.one_hot(part, 10) * 1.0, part) for part in labels.split(BATCH)]


@torch.no_grad()
def answers_of(model: nn.Module, data: SequenceData) -> Answers:
    """Return the logits of a data set and its labels, batch by batch."""
    model.eval()
    return [(model(batch.x), batch.y) for batch in data.batches(BATCH)]


def error_of(call: Callable[[], object]) -> str:
    """Return the kind and the first line of the error that a call raises, shortened, or "no error"."""
    try:
        call()
    except Exception as error:
        return textwrap.shorten(f"{type(error).__name__}: {error}".splitlines()[0], 76, placeholder=" …")
    return "no error"


class Training(NamedTuple):
    """The results of a training; accuracies are in percent."""

    model: nn.Module
    answers: Answers  # on the test set, at the end
    tests: list[float]  # on the test set, after each epoch
    shown: list[tuple[float, float, float]]  # first and last epoch: moving by_last_index, by_examples, afterwards


def train(splits: unroll.Splits, epochs: int, seed: int, zero_grad: bool = True) -> Training:
    """Train with the tutorial's recipe on data with unit scaling; ``zero_grad=False`` leaves that line out."""
    torch.manual_seed(seed)
    model, tests, shown = lessons.ImageRNN(BATCH, 28, 28, 150, 10), [], []
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(1, epochs + 1):
        model.train()
        moving = []
        for batch in splits.train.batches(BATCH, torch.randperm(len(splits.train))):
            if zero_grad:
                optimizer.zero_grad()
            logits = model(batch.x)
            nn.functional.cross_entropy(logits, batch.y).backward()
            optimizer.step()
            moving.append((logits.detach(), batch.y))
        if epoch in (1, epochs):
            afterwards = by_examples(answers_of(model, splits.train))
            shown.append((by_last_index(moving), by_examples(moving), afterwards))
        answers = answers_of(model, splits.test)
        tests.append(by_examples(answers))
        print(f"seed {seed}, {zero_grad=}, epoch {epoch}: test {tests[-1]:.2f} %", file=sys.stderr, flush=True)
    return Training(model, answers, tests, shown)


def accuracy_row(trained: Answers) -> Row:
    """Slip 1: the accuracy divided by the last index; needs a trained model's answers on the test set."""
    labels = torch.cat([part for _, part in trained])
    ideal, few = perfect(labels), perfect(labels[:BATCH])
    top, best, failure = by_last_index(ideal), by_examples(ideal), error_of(lambda: by_last_index(few))
    wrong = f"perfect {top:.2f} % (factor {top / best:.5f}), trained {by_last_index(trained):.2f} %"
    right = f"perfect {best:.2f} %, trained {by_examples(trained):.2f} %; {BATCH} images: {by_examples(few):.2f} %"
    return "accuracy over the last index, each batch taken for 64", f"{wrong}; {BATCH} images: {failure}", right


def running_row(shown: list[tuple[float, float, float]]) -> Row:
    """Slip 2: the accuracy of weights that move, sold as that of the trained model; needs `Training.shown`."""
    (printed, running, after), (printed_last, running_last, after_last) = shown[0], shown[-1]
    wrong = f"epoch 1 {printed:.2f} %, last {printed_last:.2f} % (right over seen {running:.2f}, {running_last:.2f})"
    right = (
        f"afterwards {after:.2f} % ({after - running:+.2f}), last {after_last:.2f} % ({after_last - running_last:+.2f})"
    )
    return "train accuracy while the weights move", wrong, right


def saturation(kind: Callable[[int, int], nn.Module], steps: Tensor) -> float:
    """Return the share of outputs beyond ±0.99, in percent, over many draws of 5 neurons' weights."""
    with torch.no_grad():
        outputs = torch.stack([torch.stack(kind(3, 5)(*steps)) for _ in range(DRAWS)])
    return 100.0 * (outputs.abs() > 0.99).float().mean().item()


def weights_row() -> Row:
    """Slip 4: weights that are no Parameters, and saturate."""

    def report(kind: Callable[[int, int], nn.Module]) -> str:
        model = kind(3, 5)
        count, entries = sum(p.numel() for p in model.parameters()), len(model.state_dict())
        adam = error_of(lambda: torch.optim.Adam(model.parameters()))
        beyond, scaled = saturation(kind, STEPS), saturation(kind, STEPS / STEPS.max())
        saved = f"{count} parameters, {entries} tensors in state_dict, Adam: {adam}"
        return f"{saved}; beyond ±0.99: {beyond:.1f} % of outputs, with inputs 0 to 1 {scaled:.1f} %"

    return "weights no Parameters, N(0, 1), inputs 0 to 9", report(LooseWeights), report(lessons.BasicRNN)


def drift(kind: Callable[[int, int, int], nn.Module]) -> Tensor:
    """Return the mean absolute difference of two calls with the same input at each time step, over many draws."""
    models = [kind(4, 3, 5) for _ in range(DRAWS)]
    with torch.no_grad():
        change = torch.stack([torch.stack(model(STEPS)[0]) - torch.stack(model(STEPS)[0]) for model in models])
    return change.abs().mean(dim=(0, 2, 3))


def state_row() -> Row:
    """Slip 5: a state that is kept between calls."""

    def report(kind: Callable[[int, int, int], nn.Module]) -> str:
        model, change = kind(4, 3, 5), drift(kind)
        model(STEPS)[1].sum().backward()
        backward = error_of(lambda: model(STEPS)[1].sum().backward())
        batch, short = (error_of(lambda x=x: model(x)) for x in (torch.zeros(2, 9, 3), STEPS[:1]))  # type: ignore[misc]
        each = f"t = 0: {change[0]:.3f}, t = 1: {change[1]:.3f}"
        calls = f"two calls differ by {change.mean():.3f} ({each}); second backward: {backward}"
        steps = len(kind(4, 3, 5)(torch.zeros(7, 4, 3))[0])
        return f"{calls}; batch of 9: {batch}; 1 time step: {short}; 7 time steps: {steps} outputs"

    return "a random state kept between calls", report(KeptState), report(lessons.CleanBasicRNN)


def layers_row() -> Row:
    """Slip 6: the invitation to add layers."""
    images, labels = torch.rand(BATCH, 28, 28), torch.zeros(BATCH, dtype=torch.int64)

    def report(logits: Tensor) -> str:
        return f"logits {tuple(logits.shape)}, loss: {error_of(lambda: nn.functional.cross_entropy(logits, labels))}"

    alone = error_of(lambda: every_layers_logits(images, 3, 1))
    wrong = f"num_layers=3 alone: {alone}; init_hidden to match: {report(every_layers_logits(images, 3, 3))}"
    return "more layers", wrong, report(lessons.ImageRNN(BATCH, 28, 28, 150, 10, n_layers=3)(images))


def seeds_row(splits: unroll.Splits, seed: int, seeds: int, tests: list[float]) -> Row:
    """Slip 7: one run without a seed or a validation set; needs the test accuracies of the first."""
    finals = [tests[-1], *(train(splits, len(tests), seed + more).tests[-1] for more in range(1, seeds))]
    again = train(splits, 1, seed).tests[0]
    wrong = f"test anywhere from {min(finals):.2f} to {max(finals):.2f} % ({seeds} seeds)"
    mean, same = f"{statistics.fmean(finals):.2f} ± {statistics.stdev(finals):.2f} %", f"{tests[0]:.2f}, {again:.2f} %"
    return "one run, no seed, no validation set", wrong, f"{mean}; one seed twice, first epoch: {same}"


def graph_bytes(model: nn.Module, images: Tensor, record: bool) -> int:
    """Return the bytes that a forward pass keeps for a backward pass, except weights and images."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.set_grad_enabled(record), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(images)  # held: memory of a graph that is freed could be counted under one address
    there_anyway = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), images, logits)}
    return sum(size for address, size in kept.items() if address not in there_anyway)


def recording_row(model: nn.Module, test: SequenceData) -> Row:
    """Slip 8: a graph recorded in testing; the time is the median ratio of 5 alternating pairs, after one."""
    batches = [batch.x for batch in test.batches(BATCH)]

    def seconds(record: bool) -> float:
        start = time.perf_counter()
        with torch.set_grad_enabled(record):
            for images in batches:
                model(images)
        return time.perf_counter() - start

    kept, free = (graph_bytes(model, batches[0], record) for record in (True, False))
    ratio = statistics.median([seconds(True) / seconds(False) for _ in range(6)][1:])
    return "no no_grad in testing", f"{kept:,} bytes kept for a batch, {ratio:.2f} times the time", f"{free:,} bytes"


def main(data: str = "mnist-sample", epochs: int = 10, seed: int = 0, seeds: int = 1) -> None:
    """Print a line per mistake: the result of the tutorial's way and of the correct way.

    Args:
        data: data set of 28×28 images in 10 classes.
        epochs: of training, at least 1.
        seed: of the first training and of all draws.
        seeds: trainings for the line on seeds, which 1 leaves out.
    """
    splits, machine = unroll.load(data).scaled("unit"), describe()
    print(f"{data} ({len(splits.train):,} + {len(splits.test):,} images), {epochs} epochs, seed {seed}, "
          f"{machine['threads']} threads, {machine['processor']}, torch {machine['packages']['torch']}")  # fmt: skip
    training = train(splits, epochs, seed)
    rows = [accuracy_row(training.answers), running_row(training.shown)]
    without = train(splits, min(epochs, 2), seed, zero_grad=False).tests
    compared = training.tests[len(without) - 1]
    rows.append((f"no zero_grad, epoch {len(without)}", f"test {without[-1]:.2f} %", f"test {compared:.2f} %"))
    torch.manual_seed(seed)
    rows += [weights_row(), state_row(), layers_row()]
    if seeds > 1:
        rows.append(seeds_row(splits, seed, seeds, training.tests))
    rows.append(recording_row(training.model, splits.test))
    for row in [("slip", "the tutorial's way", "the right way"), *rows]:
        print(" | ".join(row))


if __name__ == "__main__":
    cyclopts.run(main)
