"""Save and load the model of a run."""

from __future__ import annotations

import shlex
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..cells import Cell, find_cell
from ..data.formats.series import marks_before
from ..data.formats.table import Marks
from ..data.preparation import Preparation
from ..data.raw import prepare_raw
from ..data.sequences import SequenceData
from ..data.tokenizer import Tokenizer, library
from ..data.unusual import measure, unusual
from ..errors import ConfigError, DataError, RunError, UnrollWarning
from ..evaluation.calibration import Calibration, probabilities
from ..evaluation.metrics import logits_of
from ..evaluation.operating_point import OperatingPoint
from ..evaluation.recordings import pooled
from ..models.classifier import SequenceClassifier
from ..models.ensemble import Ensemble
from ..models.weights import check_finite, load_weights
from ..training.device import choose_device
from .artifacts import read_calibration, read_evaluation, read_operating_point
from .config_file import RunConfig, read_config, write_config
from .ensemble import check_member, is_finished, members
from .folder import TOKENIZER, WEIGHTS, checkpoints, claim, first_line, write


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder
        model: trained, in eval mode; of an ensemble one module that averages the probabilities of its members
        config: content of config.json
        evaluation: content of evaluation.json, or None without a test set, or if the model was saved by hand
        calibration: of its confidence, or None if no validation split was held out
        operating_point: when it answers which class, if the run keeps one (`choose_operating_point`); None answers the
            most probable class
    """

    path: Path
    model: SequenceClassifier | Ensemble
    config: RunConfig
    evaluation: dict[str, Any] | None
    calibration: Calibration | None = None
    operating_point: OperatingPoint | None = None

    @property
    def preparation(self) -> Preparation:
        """The preparation that turns raw examples into model input."""
        return self.config.preparation

    @property
    def raw_features(self) -> int:
        """Number of values in a time step of raw data; the model's input may add masks of missing values."""
        rule = self.preparation.missing
        return self.model.input_size if rule is None else len(rule.means)

    def single(self, what: str) -> SequenceClassifier:
        """Return the model, for what a mean of several cannot do.

        Args:
            what: needs it, in words.

        Raises:
            RunError: the run is an ensemble.
        """
        if isinstance(self.model, Ensemble):
            raise RunError(
                f"{what} needs a single model, and {self.path} is an ensemble of {self.config.ensemble}: "
                f"use one of its members, such as {members(self.path, self.config)[0]}"
            )
        return self.model

    @property
    def marks(self) -> Marks:
        """What marked a missing value in the training data beside NaN: numbers in raw series do so too."""
        return marks_before(None if self.config.plan is None else self.config.plan.reading, self.preparation)

    def predict(self, raw: Any, lengths: Any = None, times: Any = None) -> Tensor:
        """Return class probabilities (N, classes) float32 of raw examples, calibrated if the run has a calibration.

        They are prepared as the training data was; their columns are ``preparation.classes``. If that was cut into
        windows, each series is too, and its probabilities are the means of those of its windows; of `SequenceData` of
        windows, each window is an example. What a run answers that keeps an operating point is
        ``operating_point.labels`` of them.

        Args:
            raw: arrays, tensors, lists or `SequenceData`, not scaled. Images: (N, height, width) integers from 0 to
                255. Series: (N, time, features), a list of (time, features) of any lengths, or a pandas frame with the
                MultiIndex (series, time); NaN, None, and what marked one in the training data mark a missing value,
                and the last axis may be omitted if there is one feature. Texts: a list of strings. Series and texts
                also as any frame that `unroll.load` takes, whose columns are what those of the training data were: a
                row of the result for each series, in the order of their first rows; `unroll.runs.answer_files` returns
                the answers with their ids.
            lengths: (N,) time steps of series that are padded in ``raw`` (default None: no series is padded).
            times: (N, time), or a list with (time,) of each series, for a run that resamples: in the units of the
                training data's times, of dates in seconds (default None).

        Raises:
            DataError: the examples do not fit the run.

        Warns:
            UnrollWarning: they differ from the training data: in their units, lengths or language, or are constant.
        """
        own = None if self.config.plan is None else self.config.plan.reading
        data = prepare_raw(raw, self.preparation, self.raw_features, lengths, times, own)
        if not len(data):
            return torch.empty(0, self.model.num_classes)
        if line := unusual(data):
            warnings.warn(line, UnrollWarning, stacklevel=2)
        of_each = probabilities(logits_of(self.model, data), self.calibration)
        is_cut_here = not isinstance(raw, SequenceData) or raw.recordings is None
        return of_each if data.recordings is None or not is_cut_here else pooled(of_each, data.recordings)


def save(model: SequenceClassifier, path: str | Path, *, data: SequenceData, overwrite: bool = False) -> None:
    """Save a model trained by hand as a run folder, for `load_run` and the command line.

    Args:
        model: any `SequenceClassifier` whose cell is one of unroll's, or can be imported by name.
        path: folder to make.
        data: what the model was trained on; its preparation is saved too.
        overwrite: replace an existing run (default False).

    Raises:
        RunError: the folder is taken, the cell cannot be imported, or weights are NaN or infinite.
        DataError: the model and ``data`` have different features or classes.
    """
    if isinstance(model, Ensemble):
        raise RunError("an ensemble is saved as it is trained, by train_run: save its members one by one")
    check_loadable(model)
    check_fit(model, data)
    data.preparation.check()
    try:
        check_finite(model)
    except ValueError as error:
        raise RunError(f"a run needs finite weights: {error}; train it again with a lower lr") from error
    # The fingerprint of the training data, so that the model is not evaluated on it.
    config = RunConfig.of(model, replace(data.preparation, usual=measure(data)), data.fingerprint())
    with claim(path, overwrite, "") as path:
        write_config(path, config)
        write_weights(path, model)


def check_loadable(model: SequenceClassifier) -> None:
    """Raise `RunError` unless the cell can be imported by its name."""
    name, own = model.config.cell, type(next(module for module in model.modules() if isinstance(module, Cell)))
    try:
        again = find_cell(name) is own and not name.startswith("__main__:")
    except ConfigError:
        again = False
    if not again:
        raise RunError(f"a run needs a cell that can be imported again: put {name} at the top of a module of its own")


def check_fit(model: SequenceClassifier | Ensemble, data: SequenceData) -> None:
    """Raise `DataError` unless a model and data have the same sizes."""
    masks = data.preparation.mask_size if model.front.scales else model.front.mask_size
    for what, of_model, of_data in (
        ("tokens", model.vocabulary_size, data.vocabulary_size),
        ("n-grams of words", model.ngram_buckets, data.ngram_buckets),
        ("features that mark missing values", model.front.mask_size, masks),
        ("features", 1 if model.vocabulary_size else model.input_size, data.input_size),
        ("classes", model.num_classes, len(data.preparation.classes)),
    ):
        if of_model != of_data:
            raise DataError(f"model and data must have the same {what}, got {of_model} and {of_data}")


def load_run(path: str | Path, device: str = "cpu") -> Run:
    """Load a finished run.

    Args:
        path: its folder.
        device: for the model: "auto", "cpu", "cuda" or "mps" (default "cpu").

    Raises:
        RunError: the run does not exist, is unfinished, or is broken; the message names the file.
        ConfigError: its cell is not one of unroll's, and its module has not been imported.
        DataError: it reads texts, and the library tokenizers is not installed.
    """
    path = Path(path)
    config = read_config(path)
    if config.ensemble > 1:
        return _load_ensemble(path, config, device)
    weights, tokenizer = path / WEIGHTS, path / TOKENIZER
    if not weights.is_file() and not checkpoints(path):
        raise RunError(f"{path} has no {WEIGHTS} and cannot be resumed: its training failed; train again")
    if not weights.is_file():
        raise RunError(f"{path} is not finished: run 'unroll train --resume {shlex.quote(str(path))}' first")
    if ":" in config.model.cell:
        find_cell(config.model.cell)  # its error says what to do
    if tokenizer.exists():
        library()  # its error says what to install
    try:
        buckets = config.ngram_buckets
        tokens = Tokenizer(tokenizer.read_text("utf-8"), buckets) if config.vocabulary_size else None
        config = replace(config, preparation=replace(config.preparation, tokenizer=tokens))
        sizes = config.input_size, config.num_classes, 0 if tokens is None else tokens.checked().size
        tensors = safetensors.torch.load(weights.read_bytes())
        model = load_weights(config.model, *sizes, tensors, config.preparation.mask_size, buckets)
    except (TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise RunError(f"{path} is broken ({first_line(error)}); copy it again, or train again") from error
    return _judged(path, model.to(choose_device(device)[0]).eval(), config)


def _load_ensemble(path: Path, config: RunConfig, device: str) -> Run:
    if not is_finished(path, config):
        raise RunError(f"{path} is not finished: run 'unroll train --resume {shlex.quote(str(path))}' first")
    model, preparation = load_members(path, config, device)
    return _judged(path, model, replace(config, preparation=preparation))


def _judged(path: Path, model: SequenceClassifier | Ensemble, config: RunConfig) -> Run:
    """Return the run of a model with what its folder says about its answers."""
    evaluation, calibration = read_evaluation(path), read_calibration(path)
    point = read_operating_point(path, config.preparation.classes, calibration)
    return Run(path, model, config, evaluation if evaluation and evaluation["n"] else None, calibration, point)


def load_members(path: Path, config: RunConfig, device: str) -> tuple[Ensemble, Preparation]:
    """Return the finished members of an ensemble as one model, in eval mode, and what prepares their input.

    Args:
        path: the ensemble's folder.
        config: its config.json.
        device: for the model, as for `load_run`.

    Raises:
        RunError: a member is unfinished or broken, or is a run with other settings.
    """
    runs = [load_run(member, device) for member in members(path, config)]
    for number, run in enumerate(runs, start=1):
        check_member(run.path, run.config, config.member(number))
    temperatures = [run.calibration.temperature if run.calibration else 1.0 for run in runs]
    model = Ensemble([run.single("an ensemble") for run in runs], temperatures)
    return model.eval(), runs[0].preparation


def write_weights(path: Path, model: SequenceClassifier) -> None:
    """Write the weights into a run's folder, which marks it as finished."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write(path / WEIGHTS, safetensors.torch.save(weights))
