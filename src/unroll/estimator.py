"""A recurrent classifier as a scikit-learn estimator."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from .cells import Cell, name_of
from .config import RECIPES, DataConfig, MissingName, ModelConfig, RecipeName, TrainConfig
from .config.model import Auto, ScalingName
from .config.signature import documented, takes, with_defaults
from .data.containers import SeriesBlock, is_frame, numbers, series_block
from .data.formats.stored import to_data
from .data.memory import at_places, check_labels, groups_of
from .data.origins import Origins
from .data.preparation import Preparation, Scaling
from .data.raw import prepare_series
from .data.sequences import SequenceData
from .data.splits import Splits
from .errors import ConfigError, DataError
from .evaluation.anytime import calibrate
from .evaluation.calibration import Calibration, probabilities
from .evaluation.metrics import logits_of
from .formatting import listed, shown
from .models.classifier import SequenceClassifier
from .runs.plan import Plan
from .training.budget import within_budget
from .training.loop import Training
from .training.results import EpochResult
from .validation import check_fraction

__all__ = ["RNNClassifier"]

RECIPE: RecipeName = "series"
MODEL, TRAIN = RECIPES[RECIPE].model, RECIPES[RECIPE].train
TYPES = (np.float64, np.float32)


@with_defaults
@dataclass(frozen=True, kw_only=True)
class Arguments(TrainConfig, ModelConfig):
    """The parameters of `RNNClassifier`: settings of model and training, by default those of the recipe "series".

    Attributes:
        frame: time steps that the layers read at once, as one; auto is 1 with a stem, and otherwise follows from the
            length of the training data
        cell: name from `unroll.cells.CELLS`, or a subclass of `unroll.cells.Cell`
        fold: time steps and features, such as (8, 8): a row of 64 columns of a table is read as 8 time steps of 8
            features (default: a row is a series of one feature)
        missing: how to fill in missing values, NaN; impute repeats the last value (at the start: the mean); mask does
            the same and adds, for each feature, a second one that is 1 where the value was missing
        class_weight: weights of the classes in the training loss; "balanced", so that each class counts alike however
            rare it is, or a mapping of classes to weights, the others 1, where those that ``y`` lacks are ignored
            (default: 1 for all)
        val_fraction: fraction of the training data held out for validation, of each class at least one series of two or
            more, or whole groups where `fit` is given some; 0 holds out none
        random_state: seed of the initial weights, shuffling, validation split and noise, a whole number or NumPy's
            RandomState (default: a new one from NumPy's global generator at each fit)
        verbose: print a line after each epoch
    """

    scaling: ScalingName = MODEL.scaling
    frame: int | Auto = "auto"
    stem: Literal["none", "conv"] = MODEL.stem
    cell: str | type[Cell] = MODEL.cell  # type: ignore[assignment]  # wider: the settings only take its name
    hidden_size: int = MODEL.hidden_size
    bidirectional: bool = MODEL.bidirectional
    readout: Literal["last", "mean", "max", "attention"] = MODEL.readout
    min_steps: int = TRAIN.min_steps
    lr: float = TRAIN.lr
    weight_decay: float = TRAIN.weight_decay
    noise: float = TRAIN.noise
    gain: float = TRAIN.gain
    drift: float = TRAIN.drift
    label_smoothing: float = TRAIN.label_smoothing
    val_fraction: float = 0.0
    class_weight: Mapping[Any, float] | Literal["balanced"] | None = None  # type: ignore[assignment]
    fold: tuple[int, int] | None = None
    missing: MissingName = "impute"
    random_state: int | np.random.RandomState | None = None
    verbose: bool = False
    # For texts and images alone, or with another meaning here.
    embedding_size: int = field(init=False, default=ModelConfig.embedding_size)
    embedding_dropout: float = field(init=False, default=0.0)
    token_dropout: float = field(init=False, default=0.0)
    shift: float = field(init=False, default=0.0)
    rotation: float = field(init=False, default=0.0)
    seed: int = field(init=False, default=0)
    val_seed: int | None = field(init=False, default=None)
    ensemble: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        """Check nothing yet: `RNNClassifier.fit` does, as estimators do."""


OWN = ("class_weight", "fold", "missing", "random_state", "val_fraction", "verbose")  # not settings of the recipe
PARAMETERS = tuple(each for each in fields(Arguments) if each.init)


@documented(Arguments)
class RNNClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classify series with a recurrent network, as an estimator of scikit-learn.

    ``X`` is an array (N, time, features); a list of N arrays (time, features) or (time,) of any lengths; a pandas frame
    with the MultiIndex (series, time), whose columns are the features; or a table (N, columns), an array, a frame or
    nested lists with rows of one length: N series of one feature and as many time steps, or with ``fold`` of several
    features. Arrays may be tensors. NaN marks a missing value.

    `fit` prints nothing, writes no file, and leaves torch's global random numbers as they were. A setting replaces the
    defaults that it contradicts: with ``causal`` the model reads in one direction, and ``frame`` replaces the stem.

    {arguments}

    Attributes:
        classes_: (classes,) labels, in the order of the probabilities
        n_features_in_: columns of a table; otherwise features of a time step
        feature_names_in_: names of the features; only where ``X`` was a frame
        model_: the trained `SequenceClassifier`
        preparation_: the `unroll.data.Preparation` that makes model input of series
        history_: list with the `EpochResult` of each epoch
        calibration_: the `Calibration` of its probabilities on validation data; None without such
        n_iter_: epochs

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> classifier = RNNClassifier(fold=(8, 8), epochs=4, random_state=0).fit(X[:1000], y[:1000])
        >>> classifier.score(X[1000:], y[1000:]) > 0.8
        True
    """

    # Those of the parameters that are read here; all are attributes.
    cell: str | type[Cell]
    class_weight: Mapping[Any, float] | Literal["balanced"] | None
    fold: tuple[int, int] | None
    missing: MissingName
    random_state: int | np.random.RandomState | None
    scaling: ScalingName
    val_fraction: float
    verbose: bool
    classes_: np.ndarray
    n_features_in_: int
    feature_names_in_: np.ndarray
    model_: SequenceClassifier
    preparation_: Preparation
    history_: list[EpochResult]
    calibration_: Calibration | None
    n_iter_: int
    _read_table: bool

    @takes(Arguments)
    def __init__(self, arguments: Arguments) -> None:
        for parameter in PARAMETERS:
            setattr(self, parameter.name, getattr(arguments, parameter.name))

    def fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,  # noqa: N803
        y_val: Any = None,
    ) -> Self:
        """Train a new model.

        Args:
            X: series.
            y: (N,) labels: texts, whole numbers or bools, of at least two classes.
            sample_weight: (N,) numbers, 0 or more, by which the loss of each series is multiplied, after division by
                their mean; series of weight 0 are left out (default None: all 1).
            groups: (N,) names or numbers: what each series belongs to, the person that it is of say. ``val_fraction``
                then holds out whole groups; where it is 0 they change nothing (default None: each series for itself).
            X_val: series for validation, in place of ``val_fraction`` (default None). Validation decides where
                ``patience`` or ``keep`` say so, and calibrates the probabilities.
            y_val: their labels.

        Raises:
            DataError: series, labels or weights do not fit each other, or there is one class only.
            ConfigError: a parameter is out of range, or contradicts another.
            TrainingError: the loss is no longer finite.
        """
        settings = self._settings(has_validation=X_val is not None)
        self.__dict__.pop("model_", None)  # what fails from here on must not leave an old model with new classes
        block = self._block(X, reset=True)
        labels = self._labels(y, block)
        _check_order("sample_weight", sample_weight, block)
        origins = self._origins(groups, block)
        self.classes_, at = np.unique(labels, return_inverse=True)
        weights = self._weights(sample_weight, at)
        trained = self.classes_[np.unique(at[weights > 0])]
        if len(trained) < 2:
            raise DataError(f"RNNClassifier needs 2 or more classes to train on, got 1 class: {listed(trained)}")
        used = np.flatnonzero(weights > 0)
        splits, weights = self._splits(block, at, used, origins), weights[used]
        self.preparation_ = splits.train.preparation
        if X_val is not None:
            splits = replace(splits, val=self._labelled(X_val, y_val))
        elif self.val_fraction:
            rest, splits = self._cut(splits, settings["seed"])
            weights = weights[rest]
        devices = [*range(torch.cuda.device_count())] if torch.cuda.is_initialized() else []
        with torch.random.fork_rng(devices):
            self._train(settings, splits, weights)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the probabilities of the classes, (N, classes) float32, calibrated if there was validation data.

        Args:
            X: series of any lengths, with the features of the training data.

        Raises:
            DataError: they do not fit.
        """
        data = self.sequences(X)
        return probabilities(logits_of(self.model_, data), self.calibration_).numpy()

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the most probable class of each series, (N,) of the dtype of ``classes_``; see `predict_proba`."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the accuracy on labelled series, a fraction.

        Args:
            X: series.
            y: (N,) their labels.
            sample_weight: (N,) numbers by which each series counts (default None: all alike).

        Raises:
            DataError: they do not fit, or a frame's series are in another order than its labels or weights.
        """
        check_is_fitted(self, "model_")
        block = self._block(X, reset=False)
        _check_order("y", y, block)
        _check_order("sample_weight", sample_weight, block)
        return float(super().score(X, y, sample_weight))

    def sequences(self, X: Any, y: Any = None) -> SequenceData:  # noqa: N803
        """Return series as the model reads them, for the rest of unroll.

        ``unroll.save(classifier.model_, "runs/mine", data=classifier.sequences(X, y))`` makes a run of a classifier.

        Args:
            X: series.
            y: (N,) labels, all of ``classes_`` (default None: each counts as one of the first class).

        Raises:
            DataError: they do not fit.
        """
        check_is_fitted(self, "model_")
        return self._unlabelled(X) if y is None else self._labelled(X, y)

    def _unlabelled(self, X: Any) -> SequenceData:  # noqa: N803
        block = self._block(X, reset=False)
        features = block.values.shape[1]
        return prepare_series("X", block.each, features, self.preparation_, None, block.features)

    def _labelled(self, X: Any, y: Any) -> SequenceData:  # noqa: N803
        labels = self._labels(y, self._block(X, reset=False))
        unknown = labels[~np.isin(labels, self.classes_)]
        if len(unknown):
            raise DataError(f"y holds {shown(str(unknown[0]))}, which is not in classes_, {listed(self.classes_)}")
        return replace(self._unlabelled(X), y=torch.from_numpy(np.searchsorted(self.classes_, labels)))

    def _settings(self, has_validation: bool) -> dict[str, Any]:
        """Return the settings that differ from the recipe, checked."""
        check_fraction("val_fraction", self.val_fraction)
        if has_validation and self.val_fraction:
            raise ConfigError(f"val_fraction {self.val_fraction:g} cannot be used with X_val: give one of them")
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            raise ConfigError(f"class_weight must be balanced or a mapping of classes, got {shown(self.class_weight)}")
        if self.fold is not None and not _are_counts(self.fold):
            raise ConfigError(
                f"fold must be two whole numbers above 0, time steps and features, as (8, 8), got {shown(self.fold)}"
            )
        changed = dict[str, Any]()
        for parameter in PARAMETERS:
            value = getattr(self, parameter.name)
            value = value.item() if isinstance(value, np.generic) else value  # as a search over np.logspace gives it
            if parameter.name not in OWN and (value != parameter.default or type(value) is not type(parameter.default)):
                changed[parameter.name] = value
        if "cell" in changed:
            changed["cell"] = name_of(changed["cell"])
        changed["val_fraction"] = TrainConfig.val_fraction if has_validation or self.val_fraction else 0.0
        if self.class_weight == "balanced":
            changed["class_weight"] = "balanced"
        changed["seed"] = int(check_random_state(self.random_state).randint(2**31 - 1))
        RECIPES[RECIPE].changed(**changed)
        return changed

    def _block(self, X: Any, reset: bool) -> SeriesBlock:  # noqa: N803
        """Return the series of ``X``.

        Args:
            X: series.
            reset: remember what they are like; False checks that they are like those.
        """
        if isinstance(X, Tensor | np.ma.MaskedArray):
            X = numbers("X", X)  # noqa: N806
        is_table = _is_table(X)
        if is_table and (reset or self._read_table):
            table = validate_data(self, X, reset=reset, dtype=TYPES, ensure_all_finite="allow-nan")
            block = series_block(self._folded(table))
        elif self.fold is not None and reset:
            raise DataError(
                f"fold {self.fold} folds the columns of a table (N, columns); X is not a table: leave fold out"
            )
        else:
            features = None if reset else self._features
            block = series_block(X, "X", features)
            if reset:
                self._remember(block)
        if reset:
            self._read_table = is_table
        if not len(block) or not block.values.size:
            raise DataError(f"X must hold 1 or more series with values, got {len(block)} without any")
        values = block.values if block.values.dtype in TYPES else block.values.astype(np.float64)
        return replace(block, values=values)

    @property
    def _features(self) -> int:
        """Features of a time step, before any that say what is missing."""
        rule = self.preparation_.missing
        assert rule is not None  # as for all numbers but bytes
        return len(rule.means)

    def _remember(self, block: SeriesBlock) -> None:
        self.n_features_in_ = block.values.shape[1]
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if block.features:
            self.feature_names_in_ = np.array(block.features, dtype=object)

    def _folded(self, table: np.ndarray) -> np.ndarray:
        if self.fold is None:
            return table[..., None]
        steps, features = self.fold
        if steps * features != table.shape[1]:
            raise DataError(
                f"fold {self.fold} needs {steps * features} columns, {steps} time steps of {features} features; X has "
                f"{table.shape[1]} columns"
            )
        return table.reshape(-1, steps, features)

    def _labels(self, y: Any, block: SeriesBlock) -> np.ndarray:
        """Return the label of each series, (N,)."""
        if y is None:
            raise DataError("This RNNClassifier estimator requires y to be passed, but the target y is None")
        _check_order("y", y, block)
        y = at_places(y)
        check_labels(y)
        y = numbers("y", y) if isinstance(y, Tensor) else y
        labels: np.ndarray = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"), warn=True)
        check_classification_targets(labels)
        if len(labels) != len(block):
            raise DataError(f"y must be one label for each of {len(block)} series, got {len(labels)}")
        return labels

    def _weights(self, sample_weight: Any, at: np.ndarray) -> np.ndarray:
        """Return the weight of each series, (N,) float64, with those that ``class_weight`` maps its class to.

        Args:
            sample_weight: as for `fit`.
            at: (N,) index into ``classes_``.
        """
        weights = np.ones(len(at)) if sample_weight is None else numbers("sample_weight", sample_weight, np.float64)
        if weights.shape != at.shape or not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise DataError(f"sample_weight must be {len(at)} numbers of at least 0, one of each series")
        if not weights.any():
            raise DataError("sample_weight is zero for all series: expected one above 0")
        if isinstance(self.class_weight, Mapping):
            classes = self.classes_.tolist()
            known = {name: weight for name, weight in self.class_weight.items() if name in classes}
            if self.class_weight and not known:  # a part of the data may lack some of the classes
                given = listed(self.class_weight)
                raise DataError(f"class_weight has no class of y: {given}; y has {listed(self.classes_)}")
            own = compute_class_weight(known, classes=self.classes_, y=self.classes_[at])
            if not (own > 0).all():
                raise DataError(
                    f"class_weight must map classes to numbers above 0, got {shown(dict(self.class_weight))}"
                )
            weights = weights * own[at]
        return weights

    def _origins(self, groups: Any, block: SeriesBlock) -> Origins | None:
        if groups is None:
            return None
        _check_order("groups", groups, block)
        names = [str(name) for name in block.names or range(len(block))]
        return Origins.of("X", names, "series", groups_of(groups, len(block)))

    def _splits(self, block: SeriesBlock, at: np.ndarray, used: np.ndarray, origins: Origins | None) -> Splits:
        """Return training series with what is learned of them: their scaling, and what stands for missing values.

        Args:
            block: of all series.
            at: (N,) index into ``classes_``.
            used: which of them to train on.
            origins: of all series; None if they are in no groups.
        """
        names = tuple(map(str, self.classes_.tolist()))
        plain = Preparation(names, Scaling(0.0, 1.0), features=block.features)
        data = replace(to_data("X", block.values, block.lengths, at.astype(np.int64), plain), origins=origins)
        data = data.subset(torch.from_numpy(used)).unpadded() if len(used) < len(at) else data
        splits = Splits(data, data.subset(torch.empty(0, dtype=torch.int64)), "X", "X")
        return splits.learned(DataConfig(missing=self.missing)).scaled("unit" if self.scaling == "unit" else "training")

    def _cut(self, splits: Splits, seed: int) -> tuple[np.ndarray, Splits]:
        """Return which training series remain, and the splits with the others held out for validation."""
        data = splits.train
        rest, part = data.cut_indices(self.val_fraction, seed)
        if not len(part):
            none = "none" if data.origins is None else "no whole group"
            raise DataError(f"val_fraction {self.val_fraction:g} holds out {none} of {len(data)} series: set it to 0")
        train, val = data.subset(torch.from_numpy(rest)), data.subset(torch.from_numpy(part))
        return rest, replace(splits, train=train, val=val)

    def _train(self, settings: dict[str, Any], splits: Splits, weights: np.ndarray) -> None:
        """Train a model, and keep it with all that belongs to it.

        Args:
            settings: that differ from the recipe.
            splits: the data.
            weights: (N,) of the training series, above 0.
        """
        cell = self.cell if isinstance(self.cell, type) else None  # its name may mean another in a worker process
        plan = Plan("X", None, DataConfig(), RECIPES[RECIPE], cell=cell).chosen(splits, RECIPE, settings)
        model = plan.build(splits)
        relative = torch.from_numpy(weights / weights.mean()).float()
        of_each = None if (weights == weights[0]).all() else relative
        training = Training(model, splits, within_budget(model, splits, plan.recipe.train), of_each)
        while self._has_diverged(training):
            training.restart()
        self.model_, self.history_, self.n_iter_ = model.eval(), training.history, training.epochs_done
        self.calibration_ = calibrate(model, training.val) if training.val else None

    def _has_diverged(self, training: Training) -> bool:
        """Train to the end, unless the loss is back at that of guessing."""
        for event in training.events():
            if training.has_diverged:
                return True
            if self.verbose and isinstance(event, EpochResult):
                print(event)
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled; weights are on the CPU there, as other machines may have no GPU."""
        state = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = copy.deepcopy(state["model_"]).cpu()
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        return tags


def _are_counts(fold: Any) -> bool:
    whole = isinstance(fold, tuple | list) and all(
        isinstance(each, int | np.integer) and not isinstance(each, bool) for each in fold
    )
    return whole and len(fold) == 2 and min(fold) > 0


def _check_order(name: str, values: Any, block: SeriesBlock) -> None:
    """Raise `DataError` if values with an index of their own name the series of a frame in another order."""
    index = getattr(values, "index", None)
    if block.names and index is not None and not callable(index):
        names = list(index)
        if names != list(block.names) and set(names) == set(block.names):
            raise DataError(f"{name} is in another order than the series of X: use {name}.reindex(X.index.unique(0))")


def _is_table(X: Any) -> bool:  # noqa: N803
    """Tell whether ``X`` has a row for each series, and not one for each time step, or an array for each series."""
    if isinstance(X, list | tuple):
        return all(isinstance(row, list | tuple) for row in X) and len(set(map(len, X))) == 1 and np.ndim(X[0]) == 1
    if isinstance(X, np.ndarray):
        return X.ndim != 3 and not (X.dtype == object and X.ndim == 1)
    return not (is_frame(X) and getattr(getattr(X, "index", None), "nlevels", 1) > 1)
