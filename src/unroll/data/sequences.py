"""Labelled sequences in memory: compact storage, splits, batches."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..config import DataConfig
from ..errors import DataError
from ..formatting import listed
from .batching import bounded, longest_of_each
from .cuts import grouped_cut, latest_cut, stratified_cut
from .folds import Folds, group_folds, stratified_folds, time_folds
from .html import PICTURES, Firsts, Part, data_html
from .origins import Origins
from .preparation import Kind, Missing, Preparation, in_channels, valid_steps
from .ragged import owners, padded, places
from .time_steps import Steps, TimeSteps
from .tokenizer import Tokenizer
from .windows import Windows, classes_of
from .windows import cut as cut_windows

TEXTS = 10_000  # that are made tokens at once: what the library says of each takes far more memory than their numbers


class Batch(NamedTuple):
    """Model input and targets.

    Attributes:
        x: (batch, time, features) float32, scaled; of texts (batch, time) int64, tokens; of words read by their n-grams
            (batch, time, 1 + n-grams) int32, a token and its n-grams, see `unroll.data.ngrams`
        y: (batch,) int64 class indices
        lengths: (batch,) int64 time steps, or None where every sequence fills ``x``
    """

    x: Tensor
    y: Tensor
    lengths: Tensor | None


@dataclass(frozen=True, repr=False)
class SequenceData:
    """Labelled sequences, as raw and as compact as their file holds them.

    Those of one length stand side by side in ``x``. Those of different lengths stand one behind the other, as files are
    read; they may also be given side by side, padded, with their ``lengths``. `padded` and `sequence` hide which.

    Attributes:
        x: (N, time, features) uint8 or float32, unscaled; of texts (N, time) int32, tokens. With ``starts`` (steps of
            all, features), of texts (steps of all,)
        y: (N,) int64 class indices
        preparation: what turns ``x`` into model input
        lengths: (N,) int64 time steps of each sequence, or None where all are full
        notes: what one should know of how it was read, in words
        missing: of the shape of ``x``, bool, which values the source lacks; None where it has all. Once ``preparation``
            says how, they are filled in in ``x``; until then there is 0 in their place
        texts: the texts of ``x``, as written in the file; None if sequences are not texts. ``x`` has no time
            step until ``preparation`` knows a vocabulary
        starts: (N,) int64, which step of ``x`` each sequence begins with; None where they stand side by side
        words: (words, 1 + n-grams) int32, of texts that are read by n-grams: the distinct words, of which ``x`` then
            holds rows instead of tokens: of each its token and its n-grams. Row 0 is all 0
        times: laid out as ``x`` without features, float64, ascending from 0 in each sequence, where the source has
            them; `with_time_steps` may need them
        step_classes: laid out as ``times``, int64, the class of each time step where that changes within sequences, -1
            for none; `with_time_steps` cuts these into windows, which take theirs from it
        origins: of each sequence, what its source calls it, and what belongs together; None where that is not known

    Raises:
        DataError: the tensors do not fit each other or the classes.
    """

    x: Tensor
    y: Tensor
    preparation: Preparation
    lengths: Tensor | None = None
    notes: tuple[str, ...] = ()
    missing: Tensor | None = None
    texts: tuple[str, ...] | None = None
    starts: Tensor | None = None
    words: Tensor | None = None
    times: Tensor | None = None
    origins: Origins | None = None
    step_classes: Tensor | None = None

    def __post_init__(self) -> None:
        axes, dtypes = "(N, time, features)", [torch.uint8, torch.float32]
        if self.texts is not None:
            axes, dtypes = "(N, time)", [torch.int32]
            if len(self.texts) != len(self.y):
                raise DataError(
                    f"texts must be as many as there are classes in y, {len(self.y)}, got {len(self.texts)}"
                )
        if self.starts is not None:
            axes = axes.replace("N, time", "steps")
        if self.x.dim() != 1 + axes.count(", "):
            raise DataError(f"x must have shape {axes}, got {tuple(self.x.shape)}")
        if self.x.dtype not in dtypes:
            expected = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
            raise DataError(f"x must be {expected}, got {self.x.dtype}")
        n = len(self.x) if self.starts is None else len(self.starts)
        if self.y.shape != (n,) or self.y.dtype != torch.int64:
            raise DataError(f"y must be int64 of shape ({n},), got {self.y.dtype} of {tuple(self.y.shape)}")
        if self.origins is not None and len(self.origins) != n:
            raise DataError(f"origins must be those of {n} sequences, got {len(self.origins)}")
        classes = len(self.preparation.classes)
        if len(self.y) and not 0 <= int(self.y.min()) <= int(self.y.max()) < classes:
            raise DataError(f"y must be from 0 to {classes - 1}, got {int(self.y.min())} to {int(self.y.max())}")
        if self.lengths is not None:
            self._check_lengths(self.lengths)
        elif self.starts is not None:
            raise DataError("sequences one behind the other need their lengths")

    def _check_lengths(self, lengths: Tensor) -> None:
        if lengths.shape != self.y.shape or lengths.dtype != torch.int64:
            raise DataError(
                f"lengths must be int64 of shape ({len(self.y)},), got {lengths.dtype} of {tuple(lengths.shape)}"
            )
        if self.starts is not None:
            if len(lengths) and int(torch.minimum(self.starts, lengths).min()) < 0:
                raise DataError("starts and lengths must be from 0 on")
            if len(lengths) and int((self.starts + lengths).max()) > len(self.x):
                raise DataError(f"starts + lengths must be at most {len(self.x)}, the steps in x")
            return
        time = self.x.shape[1]
        if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= time:
            raise DataError(f"lengths must be from 0 to {time}, got {int(lengths.min())} to {int(lengths.max())}")

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        kind = str(self.x.dtype).removeprefix("torch.")
        return f"SequenceData({size} {kind}, {len(self.preparation.classes)} classes)"

    def _repr_html_(self) -> str:
        return data_html("SequenceData", {"sequences": self.for_html()}, self.steps, self.first_images())

    def for_html(self) -> Part:
        """Return what a notebook shows of it."""
        lengths = self.lengths if len(self) else None
        return Part(
            self.shape,
            str(self.x.dtype).removeprefix("torch."),
            None if lengths is None else (int(lengths.min()), int(lengths.max())),
            None if self.missing is None else int(self.missing.sum()),
            self.counts,
        )

    def first_images(self) -> Firsts | None:
        """Return the first image of each of the first classes that have some; None where there is none."""
        labels = [label for label, count in enumerate(self.counts.values()) if count][:PICTURES]
        if self.kind != "images" or not labels:
            return None
        firsts = torch.stack([(self.y == label).nonzero()[0, 0] for label in labels])
        images = self.subset(firsts).to("cpu").images().numpy()
        return Firsts(images, [self.preparation.classes[label] for label in labels])

    def __len__(self) -> int:
        return len(self.y)

    @property
    def kind(self) -> Kind:
        """What the sequences are; texts are such before they have tokens."""
        return self.preparation.kind if self.texts is None else "texts"

    def images(self) -> Tensor:
        """Return the images that the sequences are, (N, height, width) or (N, height, width, 3) uint8."""
        assert self.preparation.image is not None, f"{self.kind} are not images"
        return self.preparation.image.images(self.x)

    @cached_property
    def time(self) -> int:
        """Time steps of the longest sequence; of padded ones, of all."""
        if self.starts is None:
            return self.x.shape[1]
        assert self.lengths is not None
        return int(self.lengths.max()) if len(self) else 0

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, time, features), of texts (N, time), of all sequences side by side."""
        return (len(self), self.time, *self.x.shape[2 if self.starts is None else 1 :])

    @property
    def input_size(self) -> int:
        """Features per time step, as the model reads them; of texts 1, a token."""
        return self.x.shape[-1] if self.texts is None else 1

    @property
    def steps(self) -> str:
        """What a sequence is made of, in words."""
        if self.kind == "texts":
            return f"up to {self.time:,} tokens out of {self.vocabulary_size:,}"
        return f"{self.time} steps × {self.input_size} features"

    @property
    def vocabulary_size(self) -> int:
        """Tokens that a model must know; 0 where time steps hold features."""
        tokenizer = self.preparation.tokenizer
        return 0 if tokenizer is None else tokenizer.size

    @property
    def ngram_buckets(self) -> int:
        """Vectors that the n-grams of words share; 0 where there are none."""
        tokenizer = self.preparation.tokenizer
        return 0 if tokenizer is None else tokenizer.ngram_buckets

    @property
    def tokens(self) -> Tensor:
        """The tokens of texts, laid out as ``x``; 0 is an unknown one."""
        return self.x if self.words is None else self.words[:, 0][self.x]

    @property
    def steps_of_each(self) -> Tensor:
        """(N,) int64 time steps of each sequence, on the data's device."""
        return torch.full_like(self.y, self.time) if self.lengths is None else self.lengths

    @property
    def starts_of_each(self) -> Tensor:
        """(N,) int64, which of all steps in ``x``, side by side or not, each sequence begins with."""
        if self.starts is not None:
            return self.starts
        return torch.arange(len(self), device=self.y.device) * self.x.shape[1]

    @property
    def recordings(self) -> Tensor | None:
        """(N,) int64 on the CPU, number of the recording that each is a window of; None where they are not windows."""
        windows = None if self.origins is None else self.origins.windows
        return None if windows is None else torch.from_numpy(windows[:, 0])

    @property
    def values(self) -> Tensor:
        """The features that the source has, without those that tell what is missing: a view of ``x``."""
        rule = self.preparation.missing
        return self.x if rule is None or not rule.mask else self.x[..., : len(rule.means)]

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each feature in each sequence, of what ``values`` hold, (N, features) float32."""
        lengths = self.steps_of_each
        values, number = self.flat(self.values), owners(lengths)
        counts = lengths.clamp(min=1).unsqueeze(1)
        zeros = values.new_zeros(len(self), values.shape[1], dtype=torch.float64)
        mean = zeros.index_add(0, number, values.double()) / counts
        variance = zeros.index_add(0, number, (values - mean[number]).square()) / counts
        return mean.float(), variance.sqrt().float()

    @property
    def raw(self) -> Tensor:
        """``values`` in units of the source; float64 where an offset was taken from them."""
        offset = self.preparation.offset
        return self.values.double() + self.x.new_tensor(offset, dtype=torch.float64) if offset else self.values

    @property
    def counts(self) -> dict[str, int]:
        """Number of sequences of each class."""
        classes = self.preparation.classes
        return dict(zip(classes, torch.bincount(self.y, minlength=len(classes)).tolist(), strict=True))

    def grouped_by(self, pattern: str | None) -> SequenceData:
        """Return this data grouped by what ``pattern``, a regular expression, finds in names of groups or sequences.

        Raises:
            DataError: there are no names, or the pattern does not occur in one.
        """
        if pattern is None:
            return self
        if self.origins is None:
            raise DataError(f"group_pattern {pattern} needs names of sequences, ids or files: this data has none")
        return replace(self, origins=self.origins.grouped_by(pattern))

    def subset(self, index: Tensor) -> SequenceData:
        """Return the sequences at ``index`` (M,) int64, in that order."""
        lengths = None if self.lengths is None else self.lengths[index]
        starts, at = None, index
        if self.starts is not None and lengths is not None:
            starts, at = lengths.cumsum(0) - lengths, places(self.starts[index], lengths)
        missing, times, step_classes = (
            None if each is None else each.index_select(0, at) for each in (self.missing, self.times, self.step_classes)
        )
        texts = None if self.texts is None else tuple(self.texts[i] for i in index.tolist())
        origins = None if self.origins is None else self.origins.subset(index.cpu().numpy())
        x, y = self.x.index_select(0, at), self.y[index]  # in less than half the time of self.x[at]
        return replace(
            self,
            x=x,
            y=y,
            lengths=lengths,
            starts=starts,
            missing=missing,
            texts=texts,
            times=times,
            origins=origins,
            step_classes=step_classes,
        )

    def unpadded(self) -> SequenceData:
        """Return the same data no longer than its longest sequence; without lengths where all are as long."""
        if self.lengths is None or not len(self):
            return self
        if self.starts is not None:
            if not self.time or not bool((self.lengths == self.time).all()):
                return self
            x, missing, times, classes = (
                None if each is None else self.flat(each).unflatten(0, (len(self), self.time))
                for each in (self.x, self.missing, self.times, self.step_classes)
            )
            assert x is not None
            even = replace(self, x=x, lengths=None, starts=None, missing=missing, times=times)
            return replace(even, step_classes=classes)
        longest, full = int(self.lengths.max()), bool((self.lengths == self.lengths[0]).all()) and bool(self.lengths[0])
        missing, times, classes = (
            None if each is None else each[:, :longest] for each in (self.missing, self.times, self.step_classes)
        )
        lengths = None if full else self.lengths
        cut = replace(self, x=self.x[:, :longest], lengths=lengths, missing=missing, times=times)
        return replace(cut, step_classes=classes)

    def cut(self, fraction: float, seed: int) -> tuple[SequenceData, SequenceData]:
        """Return ``(rest, part)``: a stratified random part of about ``fraction`` of each class, and the rest.

        A class of two or more has at least one sequence in each, a class of one has it in the rest; ``fraction`` 0
        leaves all there. Equal texts, or series, come into the same of both, and count as one. Where ``origins`` has
        groups, or recordings of which sequences are windows, these are not divided; where it says when each sequence
        was, the part is the latest.
        """
        rest, part = self.cut_indices(fraction, seed)
        return self._at(rest), self._at(part)

    def cut_indices(self, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices, ascending (M,) int64, of the two parts that `cut` makes."""
        y, origins = self.y.cpu().numpy(), self.origins
        if origins is not None and origins.when is not None:
            return latest_cut(origins.when, fraction)
        if origins is not None and origins.undivided is not None:
            return grouped_cut(y, origins.undivided, fraction, seed)
        return stratified_cut(y, fraction, seed, self._contents())

    def folds(self, number: int, total: int, seed: int, apart: int = 0) -> Folds:
        """Return the folds of a cross-validation, of which ``number`` is held out; equal ones are together as by `cut`.

        Args:
            number: from 1.
            total: how many folds.
            seed: of the division; folds by time have none.
            apart: sequences of the set's own test part.

        Raises:
            DataError: there is too little to divide.
        """
        y, origins = self.y.cpu().numpy(), self.origins
        if origins is not None and origins.when is not None:
            which = time_folds(origins.when, total)
        elif origins is not None and origins.undivided is not None:
            which = group_folds(y, origins.undivided, total, seed, f"{origins.whole}s")
        else:
            which = stratified_folds(y, self._contents() or range(len(y)), total, seed)
        return Folds(number, total, which, y, origins, apart)

    def cut_by(self, folds: Folds) -> tuple[SequenceData, SequenceData]:
        """Return what is trained on where a fold of this data is held out, and that fold."""
        rest, part = folds.cut(folds.number)
        return self._at(rest), self._at(part)

    def _contents(self) -> Sequence[str | bytes] | None:
        """Return what is equal of equal sequences; None of images, which need not be compared."""
        return self.checksums() if self.kind == "series" else self.texts

    def _at(self, index: np.ndarray) -> SequenceData:
        return self.subset(torch.from_numpy(index).to(self.y.device))

    def to(self, device: torch.device | str) -> SequenceData:
        """Return the same data with its tensors on ``device``."""
        names = ("lengths", "starts", "missing", "words", "times", "step_classes")
        optional = {name: getattr(self, name) for name in names}
        moved: dict[str, Any] = {name: None if each is None else each.to(device) for name, each in optional.items()}
        return replace(self, x=self.x.to(device), y=self.y.to(device), **moved)

    def flat(self, values: Tensor) -> Tensor:
        """Return the time steps of all sequences, one behind the other, without padding: (steps, …).

        Args:
            values: laid out as ``x``: that itself, `raw`, ``missing``.
        """
        if self.starts is None:
            return valid_steps(values, self.lengths)
        assert self.lengths is not None
        is_whole = int(self.lengths.sum()) == len(values)
        return values if is_whole else values[places(self.starts, self.lengths)]

    def sequence(self, number: int, values: Tensor | None = None) -> Tensor:
        """Return one sequence without its padding, (time, features), of texts (time,).

        Args:
            number: which.
            values: laid out as ``x`` (default None: ``x`` itself).
        """
        values = self.x if values is None else values
        start, length = int(self.starts_of_each[number]), int(self.steps_of_each[number])
        return (values.flatten(0, 1) if self.starts is None else values)[start : start + length]

    def padded(self, index: Tensor | slice = slice(None), longest: int | None = None) -> Tensor:
        """Return sequences as they are in ``x``, side by side: (batch, time, features), of texts (batch, time).

        Of all at once it may need far more memory than ``x``: each is as long as the longest.

        Args:
            index: (batch,) int64 on the data's device, or a slice (default: all).
            longest: time steps to keep, at least as many as the longest of them has (default None: that number, at
                least 1; all steps if the data is stored side by side).
        """
        if self.starts is None:
            return (self.x[index] if isinstance(index, slice) else self.x.index_select(0, index))[:, :longest]
        assert self.lengths is not None
        lengths = self.lengths[index]
        time = max(1, int(lengths.max()) if len(lengths) else 1) if longest is None else longest
        return padded(self.x, self.starts[index], lengths, time)

    def model_input(self, x: Tensor) -> Tensor:
        """Return what a model reads, of some sequences as `padded` returns them."""
        if self.words is not None:
            return self.words[x]
        return x.long() if self.kind == "texts" else self.preparation.scaling.apply(x)

    def parts(self, batch_size: int) -> list[slice | Tensor]:
        """Return which sequences to look at together: all, each once, those of like length together, few of long ones.

        Args:
            batch_size: sequences at a time, at most.
        """
        if self.lengths is None:
            return [slice(at, at + batch_size) for at in range(0, len(self), batch_size)]
        return [part.to(self.y.device) for part in bounded(self.lengths.cpu(), batch_size)]

    def batches(self, batch_size: int, order: Tensor | None = None, start: int = 0) -> Iterator[Batch]:
        """Yield scaled batches, each as long as its longest sequence; the last one may be smaller.

        Args:
            batch_size: sequences per batch.
            order: (M,) int64 indices on the data's device; None takes all sequences as they stand.
            start: number of batches to leave out, for resuming within an epoch.
        """
        total = len(self) if order is None else len(order)
        lengths = self.lengths if self.lengths is None or order is None else self.lengths[order]
        longest = None if lengths is None else longest_of_each(lengths.cpu().numpy(), batch_size)
        for at in range(start * batch_size, total, batch_size):
            part = slice(at, at + batch_size)
            steps = None if longest is None else longest[at // batch_size]
            yield self.batch(part if order is None else order[part], steps)

    def batch(self, index: Tensor | slice, longest: int | None = None) -> Batch:
        """Return the sequences at ``index`` as one scaled batch.

        Args:
            index: (batch,) int64 on the data's device, or a slice.
            longest: as for `padded`.
        """
        lengths = None if self.lengths is None else self.lengths[index]
        return Batch(self.model_input(self.padded(index, longest)), self.y[index], lengths)

    def prepared_as(self, preparation: Preparation) -> SequenceData:
        """Return this data put through another set's preparation: a run's scaling, features and order of classes.

        Raises:
            DataError: the images are read differently, the features are others, the classes have other names, or the
                time steps cannot be read as the run reads them.
        """
        own = self.preparation
        if own.time_steps != preparation.time_steps:
            return self.with_time_steps(preparation.time_steps).prepared_as(preparation)
        for kind in ("images", "texts"):
            if (self.kind == kind) != (preparation.kind == kind):
                raise DataError(f"the run and the data must both hold {kind}, or neither")
        if own.image and preparation.image:
            if own.image.channels != preparation.image.channels:
                image = replace(own.image, channels=preparation.image.channels)
                x = image.sequences(in_channels(self.images(), image.channels))
                return replace(self, x=x, preparation=replace(own, image=image)).prepared_as(preparation)
            expected, got = _shape(preparation), _shape(own)
            if expected != got:
                raise DataError(f"the run expects images of {expected}, got {got}")
        y, _ = self._numbered(preparation.classes)
        if isinstance(preparation.scaling.mean, tuple) and preparation.missing is None:
            self._check_features(len(preparation.scaling.mean))
        data = self._with_features(preparation.features)._less(preparation.offset).filled(preparation.missing)
        if preparation.tokenizer is not None:
            data = data.tokenized(preparation.tokenizer)
        prepared = replace(preparation, columns=own.columns or preparation.columns)
        return replace(data, y=y, preparation=prepared, times=None)

    def beside(self, train: SequenceData) -> SequenceData:
        """Return this raw data as another part of the set whose training part is ``train``: its classes, its offset.

        Raises:
            DataError: it has other features, or a class that ``train`` lacks.
        """
        if self.kind != train.kind:
            raise DataError(f"the parts of a set must be of one kind, got {train.kind} and {self.kind}")
        own = train.preparation
        y, step_classes = self._numbered(own.classes)
        if self.texts is None and own.image is None:
            self._check_features(train.values.shape[-1])
        if own.image and self.preparation.image and _shape(own) != _shape(self.preparation):
            expected, got = _shape(own), _shape(self.preparation)
            raise DataError(f"expected images of {expected}, as in the training part, got {got}")
        data = self if self.texts is not None or own.image else self._with_features(own.features)._less(own.offset)
        return replace(data, y=y, preparation=own, step_classes=step_classes)

    def _numbered(self, classes: tuple[str, ...]) -> tuple[Tensor, Tensor | None]:
        """Return ``y`` and ``step_classes`` as numbers of other ``classes``, by their names."""
        own = self.preparation.classes
        if not set(own) <= set(classes):
            raise DataError(f"the run knows the classes {listed(classes)}; the data has {listed(own)}")
        numbers = {name: number for number, name in enumerate(classes)}
        table = torch.tensor([*(numbers[name] for name in own), -1], device=self.y.device)  # of -1 the last
        return table[self.y], None if self.step_classes is None else table[self.step_classes]

    def with_time_steps(self, rule: TimeSteps | None) -> SequenceData:
        """Return this raw data with the time steps that ``rule`` says; texts are cut when they become tokens.

        With windows the sequences are these, each a copy of its steps: ``x`` has window / stride times as many.

        Raises:
            DataError: the time steps were chosen by another rule before; or the series have no times and need them; or
                each window has steps of several classes.
        """
        own = self.preparation
        if rule == own.time_steps or self.texts is not None:
            return replace(self, preparation=replace(own, time_steps=rule), times=None)
        if rule is None or own.time_steps is not None:
            raise DataError(
                f"the run reads {rule or 'all time steps'}; the data was loaded with {own.time_steps}: load it without "
                "resample, every and max_length"
            )
        if rule.time_step is not None and self.times is None:
            raise DataError(
                f"the series have no times, by which the run resamples to a time step of {rule.time_step:g}: expected "
                "the time of each step"
            )
        lengths = self.steps_of_each.cpu().numpy()
        x, missing, times, classes = (
            None if each is None else self.flat(each).cpu().numpy()
            for each in (self.values, self.missing, self.times, self.step_classes)
        )
        assert x is not None
        made, cut = rule.apply(Steps(x, missing, lengths, classes), times)
        columns = own.columns
        if columns is not None and columns.time_step is not None:
            low, high = columns.time_step if rule.time_step is None else (rule.time_step, rule.time_step)
            columns = replace(columns, time_step=(low * rule.every, high * rule.every))
        gaps = None if made.missing is None or not made.missing.any() else torch.from_numpy(made.missing)
        data = replace(
            self,
            x=torch.from_numpy(np.ascontiguousarray(made.x)),
            lengths=torch.from_numpy(made.lengths),
            starts=torch.from_numpy(made.starts),
            missing=gaps,
            preparation=replace(own, missing=None, columns=columns, time_steps=rule),
            notes=_noted(self.notes, cut, len(self), "series", rule.max_length, "time steps"),
            times=None,
            step_classes=None if made.classes is None else torch.from_numpy(made.classes),
        )
        if rule.window is not None and rule.stride is not None:
            data = data._cut_into(rule.window, rule.stride)
        return data.to(self.y.device).unpadded()

    def _cut_into(self, window: int, stride: int) -> SequenceData:
        """Return the windows of these recordings, which stand one behind the other, as sequences.

        Raises:
            DataError: each window has steps of several classes.
        """
        assert self.starts is not None
        assert self.lengths is not None
        windows, notes = cut_windows(self.lengths.numpy(), window, stride), list(self.notes)
        short = int((self.lengths < window).sum())
        if short:
            which = f"{short:,} of {len(self):,} recordings {'is' if short == 1 else 'are'} shorter than a window"
            notes.append(f"{which} of {window:,} time steps: each is one sequence, as long as it is")
        y, at = self.y.cpu().numpy()[windows.recordings], self.starts.numpy()[windows.recordings] + windows.starts
        if self.step_classes is not None and len(self.x):
            y = classes_of(self.step_classes.numpy(), at, windows.lengths)
            mixed = int((y < 0).sum())
            if mixed == len(y):
                raise DataError(
                    f"each window of {window:,} time steps has some of several classes: expected windows within one "
                    "class, try a shorter one"
                )
            if mixed:
                which = f"{mixed:,} of {len(y):,} windows {'is' if mixed == 1 else 'are'} left out"
                notes.append(f"{which}: their time steps are of more than one class")
            windows, at, y = Windows(*(each[y >= 0] for each in windows)), at[y >= 0], y[y >= 0]
        origins = self.origins or Origins(tuple(map(str, range(len(self)))), "series")
        starts, lengths = torch.from_numpy(at), torch.from_numpy(windows.lengths)
        of_each = places(starts, lengths)
        return replace(
            self,
            x=self.x.index_select(0, of_each),
            y=torch.from_numpy(y),
            lengths=lengths,
            starts=lengths.cumsum(0) - lengths,
            missing=None if self.missing is None else self.missing.index_select(0, of_each),
            notes=tuple(dict.fromkeys(notes)),
            origins=origins.cut_into(windows),
            step_classes=None,
        )

    def tokenized(self, tokenizer: Tokenizer) -> SequenceData:
        """Return these texts with the ids of their tokens in ``x``, or the rows of ``words``; 0 behind the last.

        Of each text as many are read as the preparation's ``max_length`` says.
        """
        assert self.texts is not None
        rule, cut = self.preparation.time_steps, 0
        ids, sizes, rows = [np.empty(0, np.int32)], list[int](), {"": 0}
        has_ngrams = tokenizer.ngram_buckets > 0
        for at in range(0, len(self), TEXTS):
            some = self.texts[at : at + TEXTS]
            of_each = tokenizer.rows(some, rows) if has_ngrams else tokenizer.ids(some)
            if rule is not None and rule.max_length is not None:
                cut += sum(len(tokens) > rule.max_length for tokens in of_each)
                of_each = [tokens[: rule.max_length] for tokens in of_each]
            sizes += map(len, of_each)
            ids.append(np.fromiter(chain.from_iterable(of_each), np.int32))
        x, lengths = torch.from_numpy(np.concatenate(ids)), torch.tensor(sizes, dtype=torch.int64)
        words = torch.from_numpy(tokenizer.table(rows)) if has_ngrams else None
        preparation = replace(self.preparation, tokenizer=tokenizer)
        starts, notes = lengths.cumsum(0) - lengths, self.notes
        if rule is not None:
            notes = _noted(notes, cut, len(self), "texts", rule.max_length, "tokens")
        data = replace(self, x=x, lengths=lengths, starts=starts, words=words, preparation=preparation, notes=notes)
        return data.to(self.y.device).unpadded()

    def _with_features(self, names: tuple[str, ...]) -> SequenceData:
        """Return this data with its features in the order of ``names``, where it has names too."""
        own = self.preparation.features
        if not names or not own or names == own:
            return self
        if set(names) != set(own):
            raise DataError(f"the run reads the features {listed(names)}; the data has {listed(own)}")
        numbers = {name: number for number, name in enumerate(own)}
        index = torch.tensor([numbers[name] for name in names], device=self.x.device)
        missing = None if self.missing is None else self.missing[..., index]
        offset = tuple(self.preparation.offset[numbers[name]] for name in names) if self.preparation.offset else ()
        preparation = replace(self.preparation, missing=None, features=names, offset=offset)
        return replace(self, x=self.values[..., index], preparation=preparation, missing=missing)

    def _less(self, offset: tuple[float, ...]) -> SequenceData:
        """Return this data with ``offset`` taken away in place of its own."""
        own = self.preparation.offset
        if own == offset or self.x.dtype == torch.uint8:
            return self
        self._check_features(len(offset or own))
        shift = torch.tensor(own or (0.0,), dtype=torch.float64) - torch.tensor(offset or (0.0,), dtype=torch.float64)
        x = (self.values.double() + shift.to(self.x.device)).float()
        return replace(self, x=x, preparation=replace(self.preparation, missing=None, offset=offset))

    def filled(self, rule: Missing | None) -> SequenceData:
        """Return this data with its missing values filled in as ``rule`` says, whatever stood for them before."""
        if rule is None:
            if self.missing is not None:
                gaps = int(self.missing.sum())
                raise DataError(
                    f"{gaps:,} values are missing, but the training data had no missing values: fill them first"
                )
            return self
        self._check_features(len(rule.means))
        preparation = replace(self.preparation, missing=rule)
        x = rule.fill(self.values.float(), self.missing, self.starts)
        return replace(self, x=x, preparation=preparation)

    def _check_features(self, expected: int) -> None:
        features = self.values.shape[-1]
        if features != expected:
            raise DataError(f"the run reads {expected} features per time step, the data has {features}")

    def checksums(self) -> list[bytes]:
        """Return a checksum of each sequence, without its padding, to tell which are the same."""
        if self.texts is not None:
            return [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in self.texts]
        x = (self.x.flatten(0, 1) if self.starts is None else self.x).cpu().numpy()
        ends = zip(self.starts_of_each.tolist(), (self.starts_of_each + self.steps_of_each).tolist(), strict=True)
        return [hashlib.blake2b(x[start:end].tobytes(), digest_size=16).digest() for start, end in ends]

    def fingerprint(self) -> str:
        """Return a checksum of the raw content, to notice that a data set changed (CRC-32, eight hex digits)."""
        crc = 0 if self.texts is None else zlib.crc32("\0".join(self.texts).encode())
        for tensor in (self.x, self.y, self.lengths) if self.texts is None else (self.y,):
            if tensor is not None:
                crc = zlib.crc32(tensor.cpu().contiguous().numpy().data, crc)
        if self.preparation.offset:
            crc = zlib.crc32(np.array(self.preparation.offset).data, crc)
        return f"{crc:08x}"


class Parts(NamedTuple):
    """A data set as a reader returns it: not yet scaled, its texts no tokens yet.

    Attributes:
        train: to train on; the whole set, where it has no parts
        test: to test on; None where the set has no such part
        val: to watch the training with; None where the set has no such part
        reading: how it was read, with what followed from the files themselves; None where that is nothing
        understood: what was taken for what, in words; empty where there was no choice
    """

    train: SequenceData
    test: SequenceData | None = None
    val: SequenceData | None = None
    reading: DataConfig | None = None
    understood: str = ""

    @classmethod
    def of(cls, parts: Mapping[str, SequenceData], reading: DataConfig | None = None, understood: str = "") -> Parts:
        """Return the parts "train", "test" and "val", of which the first must be there."""
        return cls(parts["train"], parts.get("test"), parts.get("val"), reading, understood)

    def with_each(self, change: Callable[[SequenceData], SequenceData]) -> Parts:
        """Return these parts with ``change`` made to each of them."""
        test, val = (None if part is None else change(part) for part in (self.test, self.val))
        return self._replace(train=change(self.train), test=test, val=val)


def _noted(notes: tuple[str, ...], cut: int, of: int, what: str, most: int | None, unit: str) -> tuple[str, ...]:
    """Return notes with how many sequences were cut, if any."""
    if not cut:
        return notes
    line = f"{cut:,} of {of:,} {what} {'is' if cut == 1 else 'are'} cut to the first {most:,} {unit}"
    return tuple(dict.fromkeys((*notes, line)))


def _shape(preparation: Preparation) -> str:
    image = preparation.image
    return f"{image.height}×{image.width} read by {image.read}" if image else "no image"
