"""The training loop, driven by the caller: `Training` yields its progress every few steps, and results."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

from ..config import TrainConfig
from ..data.batching import MOST_STEPS, bounded, training_order
from ..data.sequences import SequenceData
from ..data.splits import Splits
from ..errors import ConfigError, DataError, InputError, TrainingError
from ..evaluation.metrics import evaluate
from ..models.classifier import check_truncation
from ..models.weights import is_finite
from ..scan.cpu import check_precision
from .augmentation import augmented, cut_off, varied
from .chance import Guessing, Losses
from .consistency import divergence
from .device import autocast, choose_device, rng_state, set_rng_state
from .fused_step import FusedStep, fused_step
from .optimizer import make_optimizer
from .results import EpochResult, Progress
from .rows import RowSteps, gradients_of_rows

LOWER = 4  # divides the learning rate of a training that is restarted
TICK = 20  # training steps between two reports: reading the loss more often would stall a GPU
LONG = 50  # results that a long training has at least: fewer epochs are never put together
TAIL = 0.25  # fraction of the training steps, the last ones, over which weights are averaged
AVERAGED_STEPS = 10  # training steps between two weights that are averaged
STATE_FORMAT = 1
FEW = 20  # validation sequences below which chance decides: one more or less is 5 points of accuracy


class Training:
    """A resumable training: pausing between any two events and resuming gives bit-identical results on a CPU.

    It seeds torch's global generator, from which dropout draws.

    Args:
        model: any module mapping x (batch, time, features) float32 and lengths (batch,) int64 or None to logits
            (batch, classes); it is moved to the device and trained in place.
        splits: data; without a validation split of its own, one is taken from ``splits.train``, which itself is not
            changed; ``val`` is None where ``config`` wants none, or none can be held out.
        config: settings (default ``TrainConfig()``).
        sequence_weights: (N,) float32, above 0, by which the loss of each training sequence is multiplied, in addition
            to the weight of its class; not for data of which a validation part is still to be cut (default None: all
            1).

    Raises:
        ConfigError: the device is missing or lacks ``precision``, the model does not support ``tbptt``, or ``config``
            is of an ensemble.
        DataError: no sequence to train on, ``shift`` or ``rotation`` without images, or ``sequence_weights`` that are
            not those of the training sequences.
        InputError: the model does not accept the data, or its logits do not match the classes.
        TrainingError: while running, if the loss is no longer finite.
    """

    config: TrainConfig
    device: torch.device
    device_reason: str
    train: SequenceData
    val: SequenceData | None
    optimizer: Optimizer
    schedule: OneCycleLR | None
    total: int
    lr: float
    epoch: int
    step: int
    restarted_after: int
    best_epoch: int
    loss_sum: float
    seconds: float
    correct: Tensor

    def __init__(
        self,
        model: nn.Module,
        splits: Splits,
        config: TrainConfig | None = None,
        sequence_weights: Tensor | None = None,
    ) -> None:
        self.config = config = config or TrainConfig()
        check_single(config)
        self.device, self.device_reason = choose_device(config.device)
        check_precision(config.precision, self.device)
        self.train, self.val = _parts(splits, config, self.device)
        self.model: nn.Module = model.to(self.device)
        if config.tbptt:
            check_truncation(model)
        self._try_out()
        weights = config.weights_of(self.train.counts)
        self.class_weights: Tensor | None = None if weights is None else torch.tensor(weights, device=self.device)
        self.sequence_weights: Tensor | None = None if sequence_weights is None else self._checked(sequence_weights)
        self.steps: int = math.ceil(len(self.train) / config.batch_size)
        self.guessing: Guessing = self._guessing()
        self.restarted_after = 0
        self._initial = {name: value.clone() for name, value in model.state_dict().items()}
        self._row_steps = RowSteps()
        self._fused: FusedStep | None = None  # kept from epoch to epoch, as allocating its memory is slow
        self._begin(config.steps_for(self.steps))

    def _checked(self, weights: Tensor) -> Tensor:
        if weights.shape != self.train.y.shape or not bool((weights > 0).all()):
            raise DataError(
                f"sequence_weights must be {len(self.train)} numbers above 0, one of each training sequence, got shape "
                f"{tuple(weights.shape)}"
            )
        return weights.to(self.device, torch.float32)

    def _guessing(self) -> Guessing:
        """Return what guessing costs; of sequences with weights of their own those of a class count by their mean."""
        counts = list(self.train.counts.values())
        weights = self.class_weights
        if self.sequence_weights is not None:
            sums = torch.bincount(self.train.y, self.sequence_weights, minlength=len(counts))
            means = sums / torch.tensor(counts, device=self.device).clamp(min=1)
            weights = means if weights is None else means * weights
        return Guessing.of(counts, None if weights is None else weights.tolist(), self.config.label_smoothing)

    def _begin(self, total: int) -> None:
        """Be before the first of ``total`` training steps."""
        self.total, self.lr, self.epoch = total, self.peak, 1
        torch.manual_seed(self.config.seed)
        self.optimizer, self.schedule = make_optimizer(self.model, replace(self.config, lr=self.peak), total)
        self.history: list[EpochResult] = []
        self.best: dict[str, Tensor] | None = None
        self.best_epoch = 0
        self.losses: Losses = Losses()
        self.averaged: AveragedModel | None = AveragedModel(self.model) if self.config.average_weights else None
        self._start_result()
        self.step = 0

    def restart(self) -> None:
        """Begin again with the initial weights and a lower learning rate; within a budget, for the steps that are left.

        Without it a training goes on whatever its loss does: whether to restart is the caller's choice, as `train_run`
        makes it by `has_diverged`.
        """
        self.restarted_after = self.losses.steps
        self.model.load_state_dict(self._initial)
        self._begin(max(1, self.total - self.restarted_after) if self.config.budget else self.total)

    def _try_out(self) -> None:
        """Pass one sequence through the model, so that a mismatch is reported before training starts."""
        with autocast(self.device, self.config.precision):
            evaluate(self.model, self.train.subset(torch.zeros(1, dtype=torch.int64, device=self.device)))

    def _start_result(self) -> None:
        self.loss_sum = 0.0
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.seconds = 0.0

    @property
    def epochs(self) -> int:
        """The number of epochs in all, of which the last may end early."""
        return math.ceil(self.total / self.steps)

    @property
    def every(self) -> int:
        """How many epochs each result covers: several of a long training whose epochs are a handful of steps."""
        return max(1, min(self.epochs // LONG, TICK // self.steps))

    @property
    def taken(self) -> int:
        """The number of training steps so far."""
        return (self.epoch - 1) * self.steps + self.step

    @property
    def peak(self) -> float:
        """The learning rate, before it is annealed: of a training that was restarted a lower one than was set."""
        return self.config.lr / LOWER if self.restarted_after else self.config.lr

    @property
    def epochs_done(self) -> int:
        """The number of epochs that have a result."""
        return self.history[-1].epoch if self.history else 0

    @property
    def has_diverged(self) -> bool:
        """Whether the training loss has risen to that of guessing and stays there; False after a restart.

        Within a budget it is False too where more than half of the steps are over.
        """
        over = self.config.budget and self.losses.steps > self.total / 2
        return not self.restarted_after and not over and self.losses.have_risen(self.guessing, self.config.batch_size)

    @property
    def judges(self) -> bool:
        """Whether the best weights by validation are kept: where it is large enough to tell epochs apart."""
        return self.config.keep == "best" and self.val is not None and len(self.val) >= FEW

    @property
    def kept_epoch(self) -> int:
        """After which epoch the model had its weights."""
        return self.best_epoch if self.best else self.epochs_done

    @property
    def kept(self) -> str:
        """Which weights the model holds after the last epoch, in words."""
        words = f"{'best' if self.best else 'last'} weights (epoch {self.kept_epoch})"
        if self.averaged and self.averaged.n_averaged:
            words = f"mean of {int(self.averaged.n_averaged)} weights from the last quarter of the steps"
        if self.config.keep == "best" and not self.judges:
            words += f": {len(self.val) if self.val else 'no'} validation sequences are too few to choose by"
        if self.restarted_after:
            words += f", restarted after {self.restarted_after} steps with lr {self.peak:g}"
        return words

    @property
    def deciding(self) -> int | None:
        """Validation sequences that decide which weights are kept or when training stops; None if none do."""
        return len(self.val) if self.val and (self.judges or self.config.patience) else None

    def events(self, pause: Callable[[], bool] = lambda: False) -> Iterator[Progress | EpochResult]:
        """Train to the end, yielding `Progress` every few steps and `EpochResult` after each epoch.

        Of a long training whose epochs are a handful of steps, a result covers ``every`` of them.

        Args:
            pause: called after each step; if it returns True, `Progress` is yielded at once. Read weights there, not in
                ``pause``: between events, rows of a table of tokens take their steps late.
        """
        while not self._is_finished():
            yield from self._train_epoch(pause)
            if self.epoch % self.every == 0 or self.epoch == self.epochs:
                yield self._end_epoch()
            else:
                self.epoch, self.step = self.epoch + 1, 0

    def _is_finished(self) -> bool:
        if self.epoch > self.epochs:
            return True
        patience = self.config.patience if self.val else 0
        return bool(patience) and self.epochs_done - self.best_epoch >= patience

    def _train_epoch(self, pause: Callable[[], bool]) -> Iterator[Progress]:
        clock = time.perf_counter()
        order, longest = self._order(self.epoch)
        data, order = self._epoch_data(), order.to(self.device)
        self.seconds += time.perf_counter() - clock
        self.model.train()
        steps = min(self.steps, self.total - (self.epoch - 1) * self.steps)
        while self.step < steps:
            clock = time.perf_counter()
            with self._row_steps.waiting(self.model, self.optimizer):
                losses = self._take_steps(data, order[: steps * self.config.batch_size], longest, pause)
            self.step += len(losses)
            self._account(losses.tolist())
            self.seconds += time.perf_counter() - clock
            yield Progress(self.epoch, self.epochs, self.step, steps, self.loss_sum / self._seen)

    def _order(self, epoch: int) -> tuple[Tensor, Sequence[int | None]]:
        random = np.random.default_rng((self.config.seed, epoch))
        return training_order(self.train.lengths, len(self.train), self.config.batch_size, random)

    def batch_steps(self, epoch: int) -> np.ndarray:
        """Return how many time steps each batch of an epoch has, padding included, (steps,) int64."""
        size, (order, longest) = self.config.batch_size, self._order(epoch)
        sizes = np.diff(np.r_[0 : len(order) : size, len(order)])
        times = np.array([self.train.time if steps is None else steps for steps in longest])
        return np.asarray(sizes * np.maximum(times, 1))

    def take_longest(self) -> None:
        """Take a step on a batch as long as any may be, which needs the most memory; at least one step is before it.

        For a training that is thrown away: the step is none of its ``total``.
        """
        if self.train.lengths is None:  # all batches are alike
            return
        index = self.train.lengths.argsort(descending=True)[: self.config.batch_size]
        longest = max(1, int(self.train.lengths.max()))
        self.model.train()
        if self._fused and self._fits(longest):
            self._fused(index, self.config.batch_size, [self.lr], [longest])
        else:
            with self._row_steps.waiting(self.model, self.optimizer):  # which needs less memory
                self._train_step(self.train, index, longest)

    @property
    def _seen(self) -> int:
        """Training sequences since the last result."""
        whole = (self.epoch - 1 - self.epochs_done) * len(self.train)
        return whole + min(self.step * self.config.batch_size, len(self.train))

    def _epoch_data(self) -> SequenceData:
        """Return this epoch's training data, augmented by this epoch's own random numbers."""
        data, config = self.train, self.config
        seed = int(np.random.SeedSequence((self.config.seed, self.epoch)).generate_state(1, np.uint64)[0])
        generator = torch.Generator("cpu").manual_seed(seed)
        if config.shift or config.rotation:
            data = augmented(data, config.shift, config.rotation, generator)
        if config.noise or config.gain or config.drift:
            data = varied(data, config.noise, config.gain, config.drift, generator)
        return cut_off(data, config.early, generator) if config.early else data

    def _take_steps(
        self, data: SequenceData, order: Tensor, longest: Sequence[int | None], pause: Callable[[], bool]
    ) -> Tensor:
        """Take the epoch's next steps, at most `TICK`; return the sums of their batches' losses, (steps,)."""
        size, taken, losses = self.config.batch_size, self.step, list[Tensor]()
        end = min(self.step + TICK, math.ceil(len(order) / size))
        while taken < end and not (taken > self.step and pause()):
            # The caller may change anything between events; the first step creates Adam's state.
            if taken <= self.step + 1:
                self._fused = self._fused_step(data)
            fused = self._fused if self._fits(longest[taken]) else None
            stop = min(end, taken + (fused.steps_at_once if fused else 1), self._next_average(taken))
            stop = next((step for step in range(taken + 1, stop) if not self._fits(longest[step])), stop)
            index = order[taken * size : stop * size]
            if fused:
                rates = [self._next_rate() for _ in range(taken, stop)]
                more, correct = fused(index, size, rates, longest[taken:stop])
                self.correct += correct
            else:
                more = self._train_step(data, index, longest[taken]).reshape(1)
                self._next_rate()
            losses.append(more)
            taken = stop
            if self.averaged and taken == self._next_average(taken - 1):
                self._row_steps.settle()
                self.averaged.update_parameters(self.model)
        return torch.cat(losses)

    def _fused_step(self, data: SequenceData) -> FusedStep | None:
        if self.sequence_weights is not None:  # which the kernel does not read
            return None
        return fused_step(self._fused, self.model, data, self.config, self.optimizer, self.class_weights)

    def _next_average(self, step: int) -> int:
        """Return after which step of this epoch, later than ``step``, weights are averaged next: a step of the whole.

        It depends on nothing that differs between two trainings, as pauses and the steps of a call do.
        """
        if not self.averaged:
            return self.steps
        before = (self.epoch - 1) * self.steps
        first = max(before + step + 1, math.ceil((1 - TAIL) * self.total))
        return min(math.ceil(first / AVERAGED_STEPS) * AVERAGED_STEPS, self.total) - before

    def _fits(self, longest: int | None) -> bool:
        """Tell whether a batch as long as ``longest`` is read at once; None stands for sequences of one length."""
        return longest is None or longest * self.config.batch_size * self._readings <= MOST_STEPS

    @property
    def _readings(self) -> int:
        """How often a step reads each of its sequences."""
        return 2 if self.config.consistency else 1

    def _next_rate(self) -> float:
        """Return the learning rate of the current step, and set that of the next one."""
        self.lr = self.optimizer.param_groups[0]["lr"]
        if self.schedule:
            self.schedule.step()
        return self.lr

    def _train_step(self, data: SequenceData, index: Tensor, longest: int | None) -> Tensor:
        """Take one step operation by operation; `FusedStep` does the same in one call.

        A batch in which one sequence is so long that all, padded to its length, would fill the memory is read in parts,
        whose gradients add up to the same. The loss returned is that of the classes alone, without the divergence.
        """
        self.optimizer.zero_grad()
        parts, total = [index], torch.zeros((), device=self.device)
        if not self._fits(longest):
            steps = data.steps_of_each[index].cpu() * self._readings
            parts = [index[part.to(self.device)] for part in bounded(steps, len(index))]
            longest = None
        for part in parts:
            read = part.repeat(self._readings)
            x, y, lengths = data.batch(read, longest)
            self._row_steps.read(self.model, x)
            with autocast(self.device, self.config.precision), gradients_of_rows(self.model):
                logits = self.model(x, lengths, **({"tbptt": self.config.tbptt} if self.config.tbptt else {})).float()
            share = len(part) / len(index)
            loss = objective = self._loss(logits, y, read) * share
            if self.config.consistency:
                objective = loss + self.config.consistency * share * divergence(logits)
            torch.autograd.backward(objective)
            self.correct += (logits.argmax(dim=1) == y)[: len(part)].sum()
            total += loss.detach() * len(index)
        self._row_steps(self.model, self.optimizer, self.config.clip_norm)
        return total

    def _loss(self, logits: Tensor, y: Tensor, index: Tensor) -> Tensor:
        """Return the mean cross entropy, that of each sequence by its weight and that of its class.

        By the number of sequences, not the sum of their weights: else a batch without a rare class would count as one.
        """
        smoothing = self.config.label_smoothing
        if self.class_weights is None and self.sequence_weights is None:
            return cross_entropy(logits, y, label_smoothing=smoothing)
        losses = cross_entropy(logits, y, reduction="none", label_smoothing=smoothing)
        if self.class_weights is not None:
            losses = losses * self.class_weights[y]
        if self.sequence_weights is not None:
            losses = losses * self.sequence_weights[index]
        return losses.mean()

    def _account(self, losses: Sequence[float]) -> None:
        for step, loss in enumerate(losses, self.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise TrainingError(self._diagnosis(f"loss became {loss}", step))
            self.loss_sum += loss
            size = self.config.batch_size
            self.losses.add(loss / min(size, len(self.train) - (step - 1) * size))

    def _check_weights(self) -> None:
        """Check the weights after the last step of an epoch, which no later loss would reveal."""
        if not all(is_finite(parameter.detach()) for parameter in self.model.parameters()):
            raise TrainingError(self._diagnosis("weights are no longer finite", self.steps))

    def _diagnosis(self, what: str, step: int) -> str:
        what = f"the {what} in epoch {self.epoch} at step {step} of {self.steps}"
        x = self.train.x
        if x.is_floating_point() and not bool(x.isfinite().all()):
            bad = sum(not bool(self.train.sequence(n).isfinite().all()) for n in range(len(self.train)))
            return f"{what}: {bad} training sequences contain values that are not finite; fix or remove them"
        clip = "" if self.config.clip_norm else ", or clip gradients (clip_norm 1)"
        lower = min(self.peak / 10, TrainConfig().lr)
        return f"{what}: training diverged at lr {self.peak:g}; try lr {lower:g}{clip}"

    def _end_epoch(self) -> EpochResult:
        self._check_weights()
        judged = self.averaged.module if self.averaged and self.averaged.n_averaged else self.model
        val = evaluate(judged, self.val) if self.val else None
        if val and not math.isfinite(val.loss):
            raise TrainingError(self._diagnosis(f"validation loss became {val.loss}", self.steps))
        result = EpochResult(
            epoch=self.epoch,
            train_loss=self.loss_sum / self._seen,
            train_accuracy=int(self.correct) / self._seen,
            val_loss=val.loss if val else None,
            val_accuracy=val.accuracy if val else None,
            lr=self.lr,
            seconds=self.seconds,
            samples_per_second=self._seen / self.seconds,
            val_balanced_accuracy=val.balanced_accuracy if val else None,
            val_macro_f1=val.macro_f1 if val else None,
        )
        if self._is_best(result):
            self.best_epoch = result.epoch
            if self.judges:
                self.best = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.history.append(result)
        self.epoch, self.step = self.epoch + 1, 0
        self._start_result()
        if self._is_finished() and (chosen := self.best or (self.averaged and self.averaged.module.state_dict())):
            self.model.load_state_dict(chosen)
        return result

    def _is_best(self, result: EpochResult) -> bool:
        """Tell whether an epoch is better on the validation part than all before."""
        metric = self.config.metric or "loss"
        score = result.score(metric)
        before = [former for epoch in self.history if (former := epoch.score(metric)) is not None]
        return score is not None and score > max(before, default=-math.inf)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs, as tensors and plain types; call it between two events."""
        return {
            "format": STATE_FORMAT,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "history": [asdict(result) for result in self.history],
            "best": self.best,
            "best_epoch": self.best_epoch,
            "averaged": self.averaged and self.averaged.state_dict(),
            "total": self.total,
            "restarted_after": self.restarted_after,
            "losses": asdict(self.losses),
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "correct": int(self.correct),
            "seconds": self.seconds,
            "lr": self.lr,
            "rng": torch.get_rng_state(),
            "device_rng": rng_state(self.device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume a training with the same model, data and settings from a `state_dict`."""
        if state.get("format") != STATE_FORMAT:
            raise TrainingError(f"the resume state must be of format {STATE_FORMAT}, got {state.get('format')}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        self.history = [EpochResult(**result) for result in state["history"]]
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        if self.averaged:
            self.averaged.load_state_dict(state["averaged"])
        self.losses = Losses(**state["losses"])
        self._start_result()
        for name in ("total", "restarted_after", "epoch", "step", "lr", "loss_sum", "seconds"):
            setattr(self, name, state[name])
        self.correct += state["correct"]
        torch.set_rng_state(state["rng"].cpu())
        set_rng_state(self.device, state["device_rng"])


def few_deciding(sequences: int | None, what: str) -> list[str]:
    """Say so where few validation sequences decide something; an empty list if not.

    Args:
        sequences: that decide it; None if none do.
        what: they decide, in words.
    """
    if sequences is None or sequences >= FEW:
        return []
    counted = "1 validation sequence decides" if sequences == 1 else f"{sequences} validation sequences decide"
    return [
        f"only {counted} {what}, each worth {1 / max(1, sequences):.0%} of the accuracy: chance may decide; "
        "raise --val-fraction, or add data"
    ]


def check_single(config: TrainConfig) -> None:
    """Raise `ConfigError` if the settings are of an ensemble."""
    if config.ensemble > 1:
        raise ConfigError(f"a training is of one model: ensemble must be 1, got {config.ensemble}; use train_run")


def refuse_val_fraction(splits: Splits, fraction: float) -> None:
    """Raise `ConfigError`: what is to be held out of data with a validation part of its own."""
    raise ConfigError(
        f"val_fraction {fraction:g} cannot be used with {splits.source}: it has a validation part of its own"
    )


def held_out(splits: Splits, config: TrainConfig) -> tuple[SequenceData, SequenceData | None]:
    """Return what a training with these settings reads, and the validation split, None if there is none.

    Raises:
        ConfigError: ``val_fraction`` is given for data with a validation part of its own.
    """
    if splits.val is not None:
        if config.val_fraction not in (0, TrainConfig.val_fraction):
            refuse_val_fraction(splits, config.val_fraction)
        return splits.train, splits.val
    if not config.val_fraction:
        return splits.train, None
    train, val = splits.train.cut(config.val_fraction, config.seed if config.val_seed is None else config.val_seed)
    return train, val if len(val) else None


def _parts(splits: Splits, config: TrainConfig, device: torch.device) -> tuple[SequenceData, SequenceData | None]:
    """Return the training and the validation split on ``device``."""
    if not isinstance(splits, Splits):
        raise InputError(f"fit expects Splits, as from unroll.load, got {type(splits).__name__}")
    train, val = held_out(splits, config)
    if (config.shift or config.rotation) and train.kind != "images":
        raise DataError("shift and rotation need images, but the data has none; set them to 0")
    if (config.noise or config.gain or config.drift) and train.kind != "series":
        raise DataError(f"noise, gain and drift need series, got {train.kind}; set them to 0")
    if not len(train):
        raise DataError("training needs at least 1 sequence, got 0: add some")
    return train.to(device), None if val is None else val.to(device)
