"""`RNNClassifier` as scikit-learn uses it: its conventions, containers, weights, labels, searches and copies."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import unroll
from unroll import ConfigError, DataError, RNNClassifier, estimator
from unroll.config import ModelConfig, TrainConfig

# By the kernels, in milliseconds.
SETTINGS: dict[str, Any] = {
    "bidirectional": False,
    "readout": "last",
    "stem": "none",
    "noise": 0.0,
    "gain": 0.0,
    "drift": 0.0,
}
fast = partial(RNNClassifier, hidden_size=8, min_steps=40, random_state=0, **SETTINGS)
EXCEPTIONS = {
    "check_sample_weight_equivalence_on_dense_data": "training takes random batches, so that a series of weight 2 is "
    "not the same as one that occurs twice"
}


class Leaky(unroll.Cell):
    """h' = h / 2 + tanh(W [x, h]) / 2"""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.mix = torch.nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return state / 2 + torch.tanh(self.mix(torch.cat([x, state], dim=1))) / 2


def waves(n: int = 60, least: int = 6, most: int = 6) -> tuple[list[np.ndarray], np.ndarray]:
    """Return series of two features that rise or fall, of different lengths unless ``least`` is ``most``."""
    random = np.random.default_rng(0)
    y = np.arange(n) % 2
    lengths = random.integers(least, most + 1, n)
    slopes = [np.arange(length)[:, None] * (2 * label - 1) for length, label in zip(lengths, y, strict=True)]
    return [slope + random.normal(size=(len(slope), 2)) for slope in slopes], y


LIST, Y = waves()
X = np.stack(LIST)
RAGGED, _ = waves(least=3, most=9)


def probabilities(X: Any, **settings: Any) -> np.ndarray:  # noqa: N803
    return np.asarray(fast(**settings).fit(X, Y).predict_proba(X))


@pytest.mark.slow
def test_it_keeps_scikit_learn_s_conventions() -> None:
    results = check_estimator(fast(), expected_failed_checks=EXCEPTIONS, on_skip=None)
    assert len(results) > 55
    expected = {result["check_name"] for result in results if result["status"] == "xfail"}
    assert expected == set(EXCEPTIONS)


def test_its_defaults_are_those_of_the_recipe_for_series() -> None:
    recipe, parameters = unroll.RECIPES["series"], RNNClassifier().get_params()
    settings = {**vars(recipe.model), **vars(recipe.train)}
    own = {
        "fold": None,
        "missing": "impute",
        "random_state": None,
        "verbose": False,
        "val_fraction": 0.0,
        "frame": "auto",
    }
    assert {name: value for name, value in parameters.items() if name in settings and name not in own} == {
        name: settings[name] for name in parameters if name not in own
    }
    assert {name: parameters[name] for name in own} == own
    assert repr(RNNClassifier(cell="lstm")) == "RNNClassifier(cell='lstm')"
    assert "hidden_size: units per layer and direction (default 64)" in (RNNClassifier.__doc__ or "")
    known = set(vars(ModelConfig())) | set(vars(TrainConfig())) | {"fold", "missing", "random_state", "verbose"}
    assert set(parameters) <= known


@pytest.mark.slow
def test_the_same_series_in_any_container_are_the_same() -> None:
    expected = probabilities(X)
    keys = pd.MultiIndex.from_product([range(len(X)), range(6)])
    frame = pd.DataFrame(X.reshape(-1, 2), keys, ["left", "right"])
    for same in (LIST, torch.tensor(X), frame):
        np.testing.assert_array_equal(probabilities(same), expected)
    np.testing.assert_array_equal(probabilities(X.reshape(60, 12), fold=(6, 2)), expected)
    np.testing.assert_array_equal(probabilities(X[:, :, 0]), probabilities(X[:, :, :1]))
    np.testing.assert_array_equal(probabilities(X[:, :, 0]), probabilities([series[:, 0] for series in LIST]))
    np.testing.assert_array_equal(probabilities(X.astype(np.float16)), probabilities(X.astype(np.float16).tolist()))
    classifier = fast().fit(frame, Y)
    assert classifier.feature_names_in_.tolist() == ["left", "right"]
    np.testing.assert_array_equal(classifier.predict_proba(frame[["right", "left"]]), expected)
    assert not hasattr(classifier.fit(X, Y), "feature_names_in_")


def test_series_of_different_lengths_do_not_change_each_other() -> None:
    classifier = fast().fit(RAGGED, Y)
    assert classifier.n_features_in_ == 2
    assert classifier.score(RAGGED, Y) > 0.9
    of_all = classifier.predict_proba(RAGGED)
    for number in (0, 7, 59):
        np.testing.assert_allclose(classifier.predict_proba([RAGGED[number]])[0], of_all[number], atol=1e-6)
    gaps = [np.where(np.arange(len(series))[:, None] == 1, np.nan, series) for series in RAGGED]
    assert fast(missing="mask").fit(gaps, Y).score(RAGGED, Y) > 0.9


@pytest.mark.parametrize("x", [X, X[:, :, 0]], ids=["series", "table"])
def test_masked_values_are_missing(x: np.ndarray) -> None:
    masked = np.ma.masked_array(np.where(x > 0.5, -9999, x), x > 0.5)
    gaps = np.where(x > 0.5, np.nan, x)
    assert (x > 0.5).any()
    np.testing.assert_array_equal(fast().fit(masked, Y).predict_proba(masked), fast().fit(gaps, Y).predict_proba(gaps))


def test_weights_count_by_their_ratio_and_zero_is_left_out() -> None:
    weights = np.where(Y == 1, 3.0, 1.0)
    expected = fast().fit(X, Y, weights).predict_proba(X)
    np.testing.assert_array_equal(fast(class_weight={1: 3}).fit(X, Y).predict_proba(X), expected)
    np.testing.assert_array_equal(fast().fit(X, Y, 8 * weights).predict_proba(X), expected)
    np.testing.assert_array_equal(fast().fit(X, Y, np.full(60, 5.0)).predict_proba(X), probabilities(X))
    few = np.arange(60) < 40
    np.testing.assert_array_equal(fast().fit(X, Y, few).predict_proba(X), fast().fit(X[few], Y[few]).predict_proba(X))


def test_weights_of_classes_that_a_fold_lacks_are_ignored() -> None:
    expected = fast(class_weight={1: 3}).fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(fast(class_weight={1: 3, 2: 9}).fit(X, Y).predict_proba(X), expected)


@pytest.mark.parametrize("given", [lambda: dict(enumerate(Y)).values(), lambda: iter(Y), lambda: map(int, Y)])
def test_labels_are_taken_one_by_one_where_they_have_no_places(given: Callable[[], Any]) -> None:
    expected = fast(training_steps=1).fit(X, Y).predict_proba(X)
    found = fast(training_steps=1).fit(X, given(), groups=given())
    np.testing.assert_array_equal(found.predict_proba(X), expected)


def test_the_score_counts_each_series_by_its_weight() -> None:
    classifier = fast(training_steps=1).fit(X, Y)
    predicted = classifier.predict(X)
    y = np.where(np.arange(60) < 20, 1 - predicted, predicted)  # the first twenty are wrong
    assert classifier.score(X, y, np.arange(60)) == pytest.approx(sum(range(20, 60)) / sum(range(60)))


def test_balanced_classes_are_guessed_alike_where_nothing_tells_them_apart() -> None:
    noise, rare = np.random.default_rng(1).normal(size=(60, 6, 2)), (np.arange(60) < 10).astype(int)
    shares = [
        fast(class_weight=which).fit(noise, rare).predict_proba(noise)[:, 1].mean() for which in (None, "balanced")
    ]
    assert shares == pytest.approx([10 / 60, 1 / 2], abs=0.1)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("fall", "rise"), ["fall", "rise"]),
        ((7, -3), [-3, 7]),
        ((True, False), [False, True]),
        ((2.0, 1.0), [1.0, 2.0]),
    ],
)
def test_labels_come_back_as_they_were(names: tuple[Any, Any], classes: list[Any]) -> None:
    y = np.array(names)[Y]
    for labels in (y, y.tolist(), pd.Series(y)):
        classifier = fast().fit(X, labels)
        assert classifier.classes_.tolist() == classes
        predicted = classifier.predict(X)
        assert predicted.dtype == classifier.classes_.dtype
        assert (predicted == y).mean() > 0.9


KEYS = pd.MultiIndex.from_product([["b", "a"], [0, 1]])
FRAME = pd.DataFrame(X.reshape(-1, 2), pd.MultiIndex.from_product([range(len(X)), range(X.shape[1])]))
WEIGHTS = pd.Series(Y + 1.0)[::-1]


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (lambda: fast().fit(X, Y[:-1]), "y must be one label for each of 60 series, got 59"),
        (lambda: fast().fit(X, np.zeros(60)), "needs 2 or more classes to train on, got 1 class: 0.0"),
        (lambda: fast().fit(X, Y, Y), "needs 2 or more classes to train on, got 1 class: 1"),
        (lambda: fast().fit(X, Y, -Y), "sample_weight must be 60 numbers of at least 0, one of each series"),
        (lambda: fast().fit(X, Y, Y[:5]), "sample_weight must be 60 numbers of at least 0, one of each series"),
        (lambda: fast().fit(X, Y, 0 * Y), "sample_weight is zero for all series"),
        (lambda: fast().fit(X, None), "requires y to be passed, but the target y is None"),
        (lambda: fast().fit([], []), "X must hold 1 or more series with values, got 0"),
        (
            lambda: fast(fold=(4, 4)).fit(X[:, :, 0], Y),
            "fold (4, 4) needs 16 columns, 4 time steps of 4 features; X has 6",
        ),
        (
            lambda: fast(fold=(6, 2)).fit(X, Y),
            "fold (6, 2) folds the columns of a table (N, columns); X is not a table",
        ),
        (
            lambda: fast(class_weight="even").fit(X, Y),
            "class_weight must be balanced or a mapping of classes, got even",
        ),
        (lambda: fast(class_weight={2: 3}).fit(X, Y), "class_weight has no class of y: 2; y has 0, 1"),
        (
            lambda: fast().fit(X, np.array(["a", None] * 30, dtype=object)),
            "y must hold the class of each series, got none of series 1: leave it out of X and y",
        ),
        (lambda: fast(class_weight={0: -1}).fit(X, Y), "class_weight must map classes to numbers above 0, got {0: -1}"),
        (lambda: fast(val_fraction=0.5).fit(X, Y, X_val=X, y_val=Y), "cannot be used with X_val: give one of them"),
        (lambda: fast().fit(X, Y, X_val=X, y_val=Y + 1), "y holds 2, which is not in classes_, 0, 1"),
        (lambda: fast().fit(X, Y, X_val=X), "requires y to be passed"),
        (lambda: fast(cell="gruu").fit(X, Y), "cell must be one of rnn, gru,"),
        (lambda: fast(hidden_size=8.5).fit(X, Y), "hidden_size must be of type int, got 8.5"),
        (lambda: fast(patience=3).fit(X, Y), "patience must be 0 with schedule 'one-cycle'"),
        (lambda: fast(scaling="unit").fit(X, Y), "scaling 'unit', as in recipe 'tutorial', expects uint8 values"),
        (lambda: fast().fit(X, Y).predict(X[:, :, :1]), "X must have shape (N, time, 2), got (60, 6, 1)"),
        (lambda: fast().fit(X, Y).predict(X[:, :, 0]), "X must have shape (N, time, 2), got (60, 6)"),
        (
            lambda: fast().fit(pd.DataFrame(X[:2, :2].reshape(4, 2), KEYS), pd.Series([0, 1], ["a", "b"])),
            "y is in another order than the series of X: use y.reindex(X.index.unique(0))",
        ),
        (lambda: fast().fit(FRAME, Y, WEIGHTS), "sample_weight is in another order than the series of X: use sample_"),
        (lambda: fast().fit(FRAME, Y).score(FRAME, pd.Series(Y)[::-1]), "y is in another order than the series of X"),
        *(
            (lambda fold=fold: fast(fold=fold).fit(X[:, :, 0], Y), "fold must be two whole numbers above 0, time steps")
            for fold in (6, (6,), (2.0, 3), (0, 6), "23")
        ),
    ],
)
def test_what_does_not_fit_is_refused(fit: Any, message: str) -> None:
    with pytest.raises((DataError, ConfigError)) as refused:
        fit()
    assert message in str(refused.value)


def test_a_seed_repeats_a_training_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    state = torch.get_rng_state()
    first = probabilities(X)
    np.testing.assert_array_equal(probabilities(X), first)
    np.testing.assert_array_equal(probabilities(X, random_state=np.random.RandomState(0)), first)
    assert (probabilities(X, random_state=1) != first).any()
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")
    assert not list(Path().iterdir())
    fast(verbose=True, epochs=1).fit(X, Y)
    assert capfd.readouterr().out.startswith("epoch 1: train loss ")


@pytest.mark.parametrize(
    ("settings", "stem", "frame", "bidirectional"),
    [
        ({}, "conv", 1, True),
        ({"frame": 4}, "none", 4, True),
        ({"stem": "none"}, "none", 10, True),
        ({"stem": "none", "frame": 1}, "none", 1, True),
        ({"causal": True}, "none", 10, False),
    ],
)
def test_a_setting_replaces_the_defaults_that_it_contradicts(
    settings: dict[str, Any], stem: str, frame: int, bidirectional: bool
) -> None:
    noise = np.random.default_rng(0).normal(size=(8, 300))
    config = RNNClassifier(training_steps=1, hidden_size=2, **settings).fit(noise, Y[:8]).model_.config
    assert (config.stem, config.frame, config.bidirectional) == (stem, frame, bidirectional)


def test_what_failed_to_be_fitted_again_is_not_fitted() -> None:
    classifier = fast().fit(X, Y)
    with pytest.raises(DataError, match="got 1 class"):
        classifier.fit(X, 0 * Y)
    with pytest.raises(NotFittedError):
        classifier.predict(X)


def test_validation_data_stops_and_calibrates() -> None:
    settings = {"schedule": "constant", "patience": 2, "epochs": 60, "lr": 0.3}
    for classifier in (
        fast(**settings).fit(X[:40], Y[:40], X_val=LIST[40:], y_val=Y[40:]),
        fast(**settings, val_fraction=0.3).fit(X, Y),
    ):
        losses = [result.val_loss for result in classifier.history_]
        assert classifier.n_iter_ == len(losses) < 60
        assert int(np.argmin(losses)) == len(losses) - 3
        assert classifier.calibration_ is not None
        logits = classifier.model_(classifier.sequences(X).batch(slice(None)).x)
        expected = (logits / classifier.calibration_.temperature).softmax(dim=1).detach()
        np.testing.assert_allclose(classifier.predict_proba(X), expected, atol=1e-6)


def held_out(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[float], list[float]]]:
    """Return, of each training to come, the first values of the series to train on, and of those held out."""
    seen: list[tuple[list[float], list[float]]] = []
    training = estimator.Training

    def watched(model: Any, splits: unroll.Splits, *more: Any) -> Any:
        assert splits.val is not None
        seen.append((splits.train.x[:, 0, 0].tolist(), splits.val.x[:, 0, 0].tolist()))
        return training(model, splits, *more)

    monkeypatch.setattr(estimator, "Training", watched)
    return seen


def test_validation_holds_out_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    person = np.arange(60) // 10
    own = X.copy()
    own[:, 0, 0] = person
    seen = held_out(monkeypatch)
    classifier = fast(val_fraction=0.3)
    classifier.fit(own, Y, groups=person).fit(own, Y, np.arange(60) % 3, groups=list(map(str, person)))
    classifier.fit(own, Y)
    for train, val in seen[:2]:
        assert not set(train) & set(val)
    assert len(set(seen[0][1])) == 2  # of six, which is nearest to three tenths
    assert set(seen[2][0]) & set(seen[2][1])


def test_groups_are_routed_to_the_folds_and_to_the_validation_within_each(monkeypatch: pytest.MonkeyPatch) -> None:
    person = np.arange(60) // 10
    own = X.copy()
    own[:, 0, 0] = person
    seen = held_out(monkeypatch)
    with config_context(enable_metadata_routing=True):
        asked = fast(val_fraction=0.3).set_fit_request(groups=True)
        cross_val_score(asked, own, Y, params={"groups": person}, cv=GroupKFold(2))
    assert len(seen) == 2
    for train, val in seen:
        assert not set(train) & set(val)
        assert len(set(train) | set(val)) == 3


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a"] * 59, "groups must be those of 60 series, got 59"),
        (["a"] * 60, "val_fraction 0.3 holds out no whole group of 60 series: set it to 0"),
        ([*["a"] * 59, None], "X, series 59: the group is empty: expected a name"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fast(val_fraction=0.3).fit(X, Y, groups=groups)


def test_a_copy_is_as_good_and_small(tmp_path: Path) -> None:
    classifier = fast(cell=Leaky, class_weight="balanced").fit(RAGGED, Y)
    expected = classifier.predict_proba(RAGGED)
    joblib.dump(classifier, tmp_path / "classifier.joblib")
    for stored in (pickle.loads(pickle.dumps(classifier)), joblib.load(tmp_path / "classifier.joblib")):
        np.testing.assert_array_equal(stored.predict_proba(RAGGED), expected)
        assert stored.get_params() == classifier.get_params()
    assert len(pickle.dumps(classifier)) < 30_000
    again = clone(classifier)
    assert again.get_params() == classifier.get_params()
    with pytest.raises(NotFittedError):
        again.predict(RAGGED)
    np.testing.assert_array_equal(again.fit(RAGGED, Y).predict_proba(RAGGED), expected)


def test_a_cell_that_its_module_lacks_is_trained_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker process, which gets a notebook's class by value."""
    monkeypatch.setattr(Leaky, "__module__", "__main__")
    classifier = fast(cell=Leaky).fit(X, Y)
    assert type(classifier.model_.layers[0][0]) is Leaky  # type: ignore[index]


@pytest.mark.slow
def test_scikit_learn_searches_and_calibrates_it() -> None:
    assert cross_val_score(fast(), RAGGED, Y, groups=np.arange(60) // 6, cv=GroupKFold(2)).mean() > 0.9
    for series in (X, RAGGED):
        search = GridSearchCV(fast(), {"lr": np.logspace(-5, -2, 2)}, cv=2).fit(series, Y)
        assert search.best_params_ == {"lr": 0.01}
        assert search.predict(series).shape == (60,)
    table = X.reshape(60, 12)
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), fast(fold=(6, 2)))
    assert pipeline.set_params(rnnclassifier__lr=0.01).fit(table, Y).score(table, Y) > 0.9
    calibrated = CalibratedClassifierCV(fast(), cv=2).fit(RAGGED, Y, sample_weight=1 + Y)
    np.testing.assert_allclose(calibrated.predict_proba(RAGGED).sum(axis=1), 1)
    assert calibrated.score(RAGGED, Y) > 0.9


@pytest.mark.slow
def test_a_search_in_two_processes_gives_the_same() -> None:
    alone, together = (
        GridSearchCV(fast(), {"hidden_size": [4, 8]}, cv=2, n_jobs=jobs, error_score="raise").fit(X, Y)
        for jobs in (1, 2)
    )
    for score in ("mean_test_score", "split1_test_score"):
        np.testing.assert_array_equal(alone.cv_results_[score], together.cv_results_[score])


def test_a_classifier_becomes_a_run() -> None:
    y = np.array(["fall", "rise"])[Y]
    classifier = fast().fit(RAGGED, y)
    data = classifier.sequences(RAGGED, y)
    assert unroll.evaluate(classifier.model_, data).accuracy == classifier.score(RAGGED, y)
    unroll.save(classifier.model_, "run", data=data)
    run = unroll.load_run("run")
    assert run.preparation.classes == ("fall", "rise")
    np.testing.assert_allclose(run.predict(RAGGED), classifier.predict_proba(RAGGED), atol=1e-6)
