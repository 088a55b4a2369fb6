"""A data set: what is trained on, what is tested on, and what is learned about both on the former alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from ..config import DataConfig
from ..config.data import OF_SERIES
from ..errors import ConfigError, DataError
from ..formatting import listed, shown
from .folds import Folds
from .html import data_html
from .preparation import DataScaling, Missing, Scaling
from .remarks import check_classes, remarks
from .sequences import Parts, SequenceData
from .time_steps import TimeSteps
from .tokenizer import Tokenizer

TEST_FRACTION = 0.2
SKIPS = 1.5  # times as long as between two steps of the data is a time step that leaves some of them out
OF_TEXTS = ("tokenizer", "vocabulary_size", "ngram_buckets", "min_count", "text_column", "lines")


@dataclass(frozen=True)
class Splits:
    """A data set: a training and a test part with one preparation.

    Attributes:
        train: for `fit`, which cuts its validation part out of it unless there is one
        test: for `evaluate`; without a sequence where all are trained on
        name: what the set is called
        source: where it was found
        drawn: whether the test part was drawn from a set that has none of its own
        val: the set's own validation part; None where it has none
        reading: how the set was read, with what followed from its files themselves; None where that is nothing
        understood: what was taken for what, in words; empty where there was no choice
        folds: of which the test part is one; None if no fold was asked for
    """

    train: SequenceData
    test: SequenceData
    name: str
    source: str
    drawn: bool = False
    val: SequenceData | None = None
    reading: DataConfig | None = None
    understood: str = ""
    folds: Folds | None = None

    @classmethod
    def of(cls, parts: Parts, name: str, source: str, config: DataConfig) -> Splits:
        """Return a training and a test part, or draw the latter; the scaling is learned on the training part.

        Args:
            parts: of the set; where there is no test part, one is drawn from the training part, and stays empty if no
                class has two sequences.
            name: of the set.
            source: where it was found.
            config: how the test part is drawn.

        Raises:
            ConfigError: ``config`` says how to draw a test part, but there is one.
            DataError: the training part has fewer than two classes.
        """
        check_classes(source, parts.train)
        if parts.train.kind == "series":
            noted = replace(parts.train, notes=(*parts.train.notes, *remarks(parts.train)))
            parts = parts._replace(train=noted)
        parts = _with_time_steps(parts, source, config)
        parts = parts.with_each(lambda part: part.grouped_by(config.group_pattern))
        _check_cuts(parts.train, source, config)
        folds = None
        if config.held_out_fold is not None:
            folds = _folds(parts.train, parts.test, source, config)
            train, test = parts.train.cut_by(folds)
            drawn = True
        elif parts.test is None:
            fraction = TEST_FRACTION if config.test_fraction is None else config.test_fraction
            train, test = parts.train.cut(fraction, config.split_seed or 0)
            drawn = len(test) > 0
            if fraction and not drawn:
                _explain_no_test(source, parts.train, config)
        else:
            config.check_unused(source, "it has a test part of its own", "test_fraction", "split_seed")
            train, test, drawn = parts.train, parts.test, False
        classes = [label for label, count in train.counts.items() if count]
        if len(classes) < 2:
            raise DataError(f"{source} holds one class only to train on, {shown(classes[0])}: expected 2 or more")
        train = replace(train, notes=(*train.notes, *_of_cut(train, {"test": test, "validation": parts.val})))
        splits = cls(train, test, name, source, drawn, parts.val, parts.reading, parts.understood, folds)
        return splits.learned(config).scaled("training")

    def with_fold(self, config: DataConfig) -> Splits:
        """Return a fold of the training part in place of the test part, of a set that is read by its name.

        Raises:
            DataError: there are fewer sequences than folds.
        """
        folds = _folds(self.train, self.test, self.source, config)
        train, test = self.train.cut_by(folds)
        return replace(self, train=train, test=test, drawn=True, folds=folds).scaled("training")

    def learned(self, config: DataConfig) -> Splits:
        """Return the same data, brought into the form that is learned on the training part alone.

        Texts become tokens; and what is missing is filled in.
        """
        train = self.train
        if train.texts is not None:
            sizes = config.vocabulary_size, config.min_count, config.ngram_buckets
            tokenizer = Tokenizer.learn(config.tokenizer, train.texts, *sizes)
            return self._with_each(lambda part: part.tokenized(tokenizer))
        config.check_unused(self.source, "it holds no texts", *OF_TEXTS)
        if train.x.dtype == torch.uint8:
            config.check_unused(self.source, "it holds bytes, of which none is missing", "missing")
            return self
        if train.missing is None:
            config.check_unused(self.source, "no value is missing in its training part", "missing")
        gone = None if train.missing is None else train.flat(train.missing)
        if gone is not None and bool(gone.all()):
            raise DataError(
                f"{self.source}: all values of the training part are missing: there is nothing to learn from"
            )
        rule = Missing.of(config.missing, train.flat(train.x), gone)
        return self._with_each(lambda part: part.filled(rule))

    def _with_each(self, change: Callable[[SequenceData], SequenceData]) -> Splits:
        val = None if self.val is None else change(self.val)
        return replace(self, train=change(self.train), test=change(self.test), val=val)

    def _repr_html_(self) -> str:
        parts = {"train": self.train.for_html(), "test": self.test.for_html()}
        if self.val is not None:
            parts["val"] = self.val.for_html()
        return data_html(f"{self.name} from {self.source}", parts, self.train.steps, self.train.first_images())

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.train.preparation.classes

    def scaled(self, name: DataScaling) -> Splits:
        """Return the same data with a scaling learned on its training part alone; texts have none."""
        if self.train.kind == "texts":
            return self
        scaling = Scaling.of(name, self.train.flat(self.train.values))
        rule = self.train.preparation.missing
        if rule is not None and rule.mask:
            scaling = scaling.with_unscaled(len(rule.means))
        preparation = replace(self.train.preparation, scaling=scaling)
        return self._with_each(lambda part: replace(part, preparation=preparation))


def _folds(train: SequenceData, test: SequenceData | None, source: str, config: DataConfig) -> Folds:
    """Return the folds of ``train`` that ``config`` asks for.

    Raises:
        DataError: there is too little to divide.
    """
    assert config.held_out_fold is not None
    try:
        return train.folds(*config.held_out_fold, config.split_seed or 0, 0 if test is None else len(test))
    except DataError as error:
        raise DataError(f"{source}: {error}") from error


def _check_cuts(train: SequenceData, source: str, config: DataConfig) -> None:
    """Raise `ConfigError` if ``config`` asks for a cut by what the data does not say."""
    origins = train.origins
    if origins is None or origins.groups is None:
        config.check_unused(source, "it has no columns", "group", "group_pattern")
    if origins is None or origins.when is None:
        config.check_unused(source, "it has no columns", "split_by_time")


def _explain_no_test(source: str, data: SequenceData, config: DataConfig) -> None:
    """Raise `DataError` where a cut that was asked for holds nothing out."""
    if data.origins is not None and data.origins.undivided is not None and data.origins.when is None:
        raise DataError(
            f"{source}: no whole {data.origins.whole} can be held out, as each has a class that no other has: "
            "--test-fraction 0 trains on all"
        )
    if config.split_by_time is not None:
        raise DataError(f"{source}: all sequences begin at one time, {shown(config.split_by_time)}: none is the latest")


def _of_cut(train: SequenceData, held_out: Mapping[str, SequenceData | None]) -> tuple[str, ...]:
    """Say what a cut by groups or by time did, of the training part and the others by name."""
    notes, own = list[str](), train.origins
    for name, part in held_out.items():
        origins = None if part is None else part.origins
        if own is None or origins is None or not len(origins):
            continue
        if own.undivided is not None and origins.undivided is not None:
            what = f"{own.whole}s"
            mine, its = set(own.undivided), set(origins.undivided)
            shared = f"{len(mine & its)} of the {len(its)} {what} in the {name} part"
            if mine & its and own.groups is not None:
                effect = "that part does not tell how new ones are classified"
                notes.append(f"{shared} are in the training part too: {effect}")
            elif mine & its and own.named_by == "id":
                notes.append(f"{shared} have the id of one in the training part: are they pieces of the same?")
            elif name == "test":
                notes.append(f"{len(mine)} {what} to train on, {len(its)} others to test on")
        if own.when is not None and origins.when is not None:
            late = int((own.when[:, 1] >= origins.when[:, 0].min()).sum())
            if late:
                which = f"{late:,} of {len(own):,} training sequences"
                notes.append(f"{which} end after the first of the {name} part begins")
    if own is not None and own.when is not None:
        absent = [label for label, count in train.counts.items() if not count]
        notes += [f"in the past, which is trained on, the classes {listed(absent)} do not occur"] if absent else []
    return tuple(notes)


def _with_time_steps(parts: Parts, source: str, config: DataConfig) -> Parts:
    """Return the parts with the time steps that are to be read, before any is drawn or learned from.

    Raises:
        ConfigError: the data has no such time steps, or no times, or a grid would leave one step of each series.
    """
    kind, rule = parts.train.kind, TimeSteps.of(config)
    if kind != "series":
        config.check_unused(source, f"it holds {kind}", *OF_SERIES)
    if kind == "images":
        config.check_unused(source, "it holds images", "max_length")
    if parts.train.times is None:
        reason = "its series have no times; --every 4 reads the mean of each 4 time steps"
        config.check_unused(source, reason, "resample")
    noted = replace(parts.train, notes=(*parts.train.notes, *_skipped(parts.train, config)))
    made = parts._replace(train=noted).with_each(lambda part: part.with_time_steps(rule))
    if config.time_step is not None and made.train.time < 2 <= parts.train.time:
        raise ConfigError(
            f"resample {config.resample} leaves one time step of each series: a rate is written 50Hz, a time between "
            "two steps 20ms or 0.02"
        )
    understood = "; ".join(filter(None, (parts.understood, str(rule or ""))))
    return made._replace(understood=understood)


def _skipped(data: SequenceData, config: DataConfig) -> tuple[str, ...]:
    """Say so where a grid leaves values out, and what averages them instead."""
    step, lengths = config.time_step, data.steps_of_each
    if step is None or data.times is None or not bool((lengths > 1).any()):
        return ()
    lasting = data.flat(data.times)[lengths.cumsum(0) - 1][lengths > 1]
    own = float((lasting / (lengths[lengths > 1] - 1)).min())
    if not 0 < own * SKIPS < step:
        return ()
    finer = f"--resample {own:.4g} --every {round(step / own) * config.every}"
    return (f"resample {config.resample} skips what lies between, as the time step is {own:.4g}: {finer} averages it",)
