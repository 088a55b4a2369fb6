"""Sequences from an .npz file, and what is wrong with one in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import unroll
from unroll import ConfigError, DataError, load

Arrays = dict[str, object]
Save = Callable[..., str]
N, TIME, FEATURES = 20, 7, 3
X = np.random.default_rng(0).normal(size=(N, TIME, FEATURES)).astype(np.float32)
Y = np.arange(N) % 2


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write arrays and return the path: ``save(x=…, y=…)``; without arrays a sound file."""

    def write(**arrays: object) -> str:
        path = tmp_path / "gestures.npz"
        np.savez(path, **(arrays or {"x": X, "y": Y}))  # type: ignore[arg-type]
        return str(path)

    return write


def test_plain(save: Save) -> None:
    splits = load(save())
    assert (splits.name, splits.drawn, splits.classes) == ("gestures", True, ("0", "1"))
    assert splits.train.x.shape == (16, TIME, FEATURES)
    assert splits.train.x.dtype == torch.float32
    assert splits.train.lengths is None
    assert splits.train.preparation.image is None
    scaling, values = splits.train.preparation.scaling, splits.train.x.double().flatten(0, 1).numpy()
    assert scaling.mean == pytest.approx(values.mean(axis=0))
    assert scaling.std == pytest.approx(values.std(axis=0))
    whole = {x.tobytes(): y for x, y in zip(X, Y, strict=True)}
    for part in (splits.train, splits.test):
        assert [whole[x.numpy().tobytes()] for x in part.x] == part.y.tolist()


def test_names_lengths_and_padding_that_does_not_matter(save: Save) -> None:
    x, lengths = X.copy(), np.arange(N) % TIME + 1
    x[np.arange(TIME) >= lengths[:, None]] = np.nan
    splits = load(save(x=x, y=np.array(["tap", "circle"])[Y], lengths=lengths.astype(np.int32)))
    assert splits.classes == ("circle", "tap")
    assert splits.train.lengths is not None
    assert splits.train.lengths.dtype == torch.int64
    assert np.isfinite(splits.train.preparation.scaling.mean).all()
    model = unroll.SequenceClassifier(FEATURES, 2, hidden_size=4)
    (epoch,) = unroll.fit(model, splits, unroll.TrainConfig(epochs=1))
    assert np.isfinite(epoch.train_loss)


def test_features_of_different_units_are_all_seen(save: Save) -> None:
    """One mean for all would drown a small feature, in which the class is, in the noise of a large one."""
    random = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = np.stack([random.normal(1000, 100, (200, 20)), random.normal(0, 0.1, (200, 20)) + 0.1 * y[:, None]], axis=2)
    run = unroll.train_run(save(x=x, y=y), recipe="images", hidden_size=16, epochs=40, readout="mean", out="units")
    assert run.evaluation is not None
    assert run.evaluation["accuracy"] > 0.9
    assert unroll.load_run("units").preparation == run.preparation


def test_a_constant_feature_does_not_explode(save: Save) -> None:
    x = X.copy()
    x[:, :, 1] = 0.1
    scaled = next(load(save(x=x, y=Y)).train.batches(20)).x
    assert scaled[:, :, 1].abs().max() < 1e-6
    assert scaled[:, :, 0].std() == pytest.approx(1.0, abs=0.01)


def test_full_lengths_are_no_lengths(save: Save) -> None:
    assert load(save(x=X, y=Y, lengths=np.full(N, TIME))).train.lengths is None


def test_its_own_parts(save: Save) -> None:
    path = save(x_train=X[:12], y_train=Y[:12] * 3, x_test=X[12:], y_test=Y[12:] * 3, lengths_test=np.full(8, 2))
    splits = load(path)
    assert not splits.drawn
    assert splits.classes == ("0", "3")
    assert (len(splits.train), len(splits.test)) == (12, 8)
    assert splits.train.lengths is splits.test.lengths is None
    assert torch.equal(splits.test.x, torch.from_numpy(X[12:, :2]))  # the steps that its lengths give it
    with pytest.raises(ConfigError, match="test_fraction 0.5 cannot be used with .*: it has a test part of its own"):
        load(path, test_fraction=0.5)


def test_named_classes(save: Save) -> None:
    assert load(save(x=X, y=Y, classes=["no", "yes", "maybe"])).classes == ("no", "yes", "maybe")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("u1", torch.uint8), ("?", torch.uint8), ("i2", torch.float32), ("i8", torch.float32), ("f8", torch.float32)],
)
def test_numbers_are_kept_or_become_float32(save: Save, given: str, kept: torch.dtype) -> None:
    x = np.random.default_rng(0).integers(0, 2, X.shape).astype(given)
    splits = load(save(x=x, y=Y))
    assert splits.train.x.dtype == kept
    kept_values = torch.cat([splits.train.x, splits.test.x]).flatten().tolist()
    assert sorted(kept_values) == sorted(x.astype(float).flatten().tolist())


def ragged() -> np.ndarray:
    x = np.empty(N, object)
    x[:] = [np.zeros((n + 1, 2)) for n in range(N)]
    return x


def with_value(value: float, at: tuple[int, int, int] = (3, 2, 1)) -> np.ndarray:
    x = X.astype(np.float64)
    x[at] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "gestures.npz has no y: expected the arrays x and y, got x"),
        ({"data": X, "labels": Y}, "has no x, y: expected the arrays x and y, got none of them"),
        ({"x_train": X, "y_train": Y}, "has no x_test, y_test: expected"),
        ({"x": X[:, :, 0], "y": Y}, "x must have shape (N, time, features), got (20, 7); give it a last axis: x[:, :,"),
        ({"x": X[0, 0], "y": Y}, "x must have shape (N, time, features), got (3,)"),
        ({"x": X[:5], "y": Y}, "x holds 5 sequences, but y 20 labels"),
        ({"x": X[:, :0], "y": Y}, "x must hold at least 1 sequence of 1 time step of 1 feature, got (20, 0, 3)"),
        ({"x": ragged(), "y": Y}, "x is an array of Python objects; pad ragged sequences to one length, and say in"),
        ({"x": X.astype(str), "y": Y}, "x must hold real numbers, got <U"),
        ({"x": X.astype(complex), "y": Y}, "x must hold real numbers, got complex128"),
        ({"x": X.astype(np.float64) * 1e-50, "y": Y}, "x loses too much as float32: float64 values from"),
        (
            {"x": with_value(np.inf), "y": Y},
            "x holds 1 value too large for float32, the first in sequence 3 at step 2, f",
        ),
        ({"x": with_value(1e300), "y": Y}, "feature 1; scale it, or write NaN where a value is missing"),
        ({"x": X, "y": Y[:, None]}, "y must have shape (N,), one label per sequence, got (20, 1)"),
        ({"x": X, "y": Y * 0.5}, "y must hold whole numbers or names (int64, str), got float64"),
        ({"x": X, "y": Y * 0}, "holds one class only to train on, 0: expected 2 or more"),
        ({"x_train": X, "y_train": Y * 0, "x_test": X, "y_test": Y}, "holds one class only to train on, 0"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y.astype(str)}, "y_train and y_test must both hold whole"),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1},
            "the class 2 of y_test is not in y_train, the training part",
        ),
        ({"x": X, "y": Y == 1}, "y must hold whole numbers or names (int64, str), got bool"),
        ({"x": X, "y": np.array(["a", "b\n"])[Y]}, "'b\\n' cannot be the name of a class"),
        ({"x": X, "y": np.array(["a", "b"], object)[Y]}, "y is an array of Python objects; make it one of names"),
        ({"x": X[:0], "y": Y[:0]}, "y holds no label: expected one per sequence"),
        ({"x": X, "y": Y, "lengths": Y}, "lengths must be 20 whole numbers"),
        ({"x": X, "y": Y, "lengths": np.full(3, 7)}, "lengths must be 20 whole numbers, got int64 of shape (3,)"),
        ({"x": X, "y": Y, "lengths": np.full(N, 8)}, "lengths must be from 0 to 7, got 8 to 8"),
        ({"x": X, "y": Y, "lengths": np.full(N, -1)}, "lengths must be from 0 to 7, got -1 to -1"),
        ({"x": X, "y": Y, "lengths": np.full(N, 0)}, "lengths are all 0: expected time steps to read"),
        ({"x": X, "y": Y, "classes": ["a"]}, "classes names 0 to 0, but y holds 0 to 1"),
        ({"x": X, "y": Y, "classes": ["a", "a"]}, "classes must all differ, got a, a"),
        ({"x": X, "y": Y, "classes": "cat"}, "classes must be names in one row, got <U3 of shape ()"),
        ({"x": X, "y": Y, "classes": [b"a", b"b"]}, "classes must be names in one row, got |S1 of shape (2,)"),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:, :, :2], "y_test": Y},
            "x_train and x_test must have the same features and dtype, got",
        ),
    ],
)
def test_bad_arrays_are_one_line(save: Save, arrays: Arrays, message: str) -> None:
    if message.startswith("lengths must be 20") and arrays["lengths"] is Y:
        arrays = {**arrays, "lengths": Y * 1.0}
    path = save(**arrays)
    with pytest.raises(DataError) as error:
        load(path)
    assert message in str(error.value)
    assert path in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off", "array", "truncated"])
def test_files_that_are_no_npz(save: Save, content: bytes | str) -> None:
    path = Path(save())
    if content == "array":
        np.save(path.with_suffix(".npy"), X)
        path.with_suffix(".npy").replace(path)
    else:
        path.write_bytes(path.read_bytes()[:900] if isinstance(content, str) else content)
    with pytest.raises(DataError) as error:
        load(str(path))
    assert str(error.value).startswith(f"{path} is no")


def test_other_arrays_are_left_alone(save: Save) -> None:
    assert len(load(save(x=X, y=Y, meta=ragged(), note="recorded in March")).train) == 16


def test_labels_of_different_types_are_compared_as_numbers(save: Save) -> None:
    big = np.array([2**60 + 1, 2**60 + 2], np.uint64)[Y]
    splits = load(save(x_train=X, y_train=big, x_test=X, y_test=big.astype(np.int64)))
    assert splits.classes == (str(2**60 + 1), str(2**60 + 2))
    assert torch.equal(splits.train.y, splits.test.y)


def test_damage_is_noticed_in_one_line_or_harmless(save: Save) -> None:
    path = Path(save())
    whole, content, random, noticed = load(str(path)), path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(content)
        for at in random.integers(2, len(content), 3):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        try:
            found, problem = load(str(path)), None
        except DataError as error:
            found, problem = None, str(error)
            noticed += 1
        if found is None:
            assert problem is not None
            assert str(path) in problem
            assert "\n" not in problem
        else:  # bytes that the format has, but that nobody reads
            assert torch.equal(found.train.x, whole.train.x)
            assert torch.equal(found.train.y, whole.train.y)
    assert noticed > 200


def test_settings_for_images(save: Save) -> None:
    with pytest.raises(ConfigError, match="read columns cannot be used with .*gestures.npz: it holds no images"):
        load(save(), read="columns")
    with pytest.raises(ConfigError, match="resize 28 cannot be used with .*gestures.npz: it holds no images"):
        load(save(), resize=28)


def test_a_run_on_arrays(save: Save) -> None:
    path = save(x=X, y=Y)
    run = unroll.train_run(path, hidden_size=4, epochs=2, val_fraction=0.2)
    assert run.path == Path("runs/gestures-gru-1")
    assert unroll.evaluate(run.model, load(path).test.prepared_as(run.preparation)).to_dict() == {
        key: value for key, value in (run.evaluation or {}).items() if key not in ("weights", "epoch", "deciding")
    }
