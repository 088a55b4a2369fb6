"""The recipe that a command takes follows from the kind of data; what is given by flags holds in any."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unroll import RECIPES, ConfigError, train_run
from unroll.cli.views.training import _fewer
from unroll.config import choose_settings
from unroll.report.summary import reproduce
from unroll.runs.plan import Plan
from unroll.runs.sweep import run_sweep

Call = Callable[..., tuple[int, str, str]]
QUICK: dict[str, Any] = {"hidden_size": 4, "training_steps": 2}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """Return a function that writes so many series, of 130 steps, in two classes, and returns their file."""

    def written(number: int) -> str:
        path = tmp_path_factory.mktemp("series") / "waves.npz"
        x = np.random.default_rng(0).normal(size=(number, 130, 1)).cumsum(axis=1).astype(np.float32)
        test = {"x_test": x[:4] + 1, "y_test": np.arange(4) % 2}
        np.savez(path, x_train=x, y_train=np.arange(number) % 2, **test)
        return str(path)

    return written


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("texts") / "films.tsv"
    rows = [f"a {word} film number {n}\t{label}" for n in range(20) for word, label in (("fine", "+"), ("dull", "-"))]
    path.write_text("\n".join(["text\tlabel", *rows]), encoding="utf-8")
    return str(path)


@pytest.mark.slow
def test_each_kind_of_data_has_its_recipe(series: Callable[[int], str], texts: str, tmp_path: Path) -> None:
    for kind, data in (("series", series(30)), ("text", texts), ("images", "mnist-sample")):
        run = train_run(data, out=tmp_path / kind, **QUICK)
        assert run.config.plan is not None
        recipe, usual = run.config.plan.recipe, RECIPES[kind]  # type: ignore[index]
        assert recipe.name == kind
        assert (recipe.model.cell, recipe.model.readout) == (usual.model.cell, usual.model.readout)
        assert (recipe.train.lr, recipe.train.label_smoothing) == (usual.train.lr, usual.train.label_smoothing)
        assert recipe.model.hidden_size == 4


@pytest.mark.slow
def test_of_few_series_none_is_held_out_unless_something_needs_it(
    series: Callable[[int], str], tmp_path: Path, call: Call
) -> None:
    few = series(30)
    quick = ("--hidden-size", 4, "--training-steps", 2, "--no-report")
    out = call("train", "--data", few, *quick, "--out", "none")[1]
    assert "30 train (none held out for validation: a tenth would be too few, see --val-fraction), 4 test;" in out
    assert re.search(r"\nstem stride +2, as series of about 130 time steps become about 65 stem steps\n", out)
    assert "recipe series: 2 steps, 1 an epoch, batch 64, adamw, lr 0.005 one-cycle, noise 0.1, gain 0.1," in out
    for flags in (("--val-fraction", 0.2), ("--keep", "best"), ("--metric", "macro-f1")):
        out = call("train", "--data", few, *quick, *flags, "--out", f"some{flags[0]}")[1]
        assert re.search(r"30 train \(\d held out for validation\)", out), flags
    many = train_run(series(202), out=tmp_path / "many", **QUICK)
    assert many.config.train is not None
    assert many.config.train.val_fraction == 0.1


def test_a_sweep_over_few_series_holds_some_out_to_choose_by(series: Callable[[int], str], tmp_path: Path) -> None:
    done = run_sweep(series(30), search={"lr": [1e-3, 1e-2]}, out=tmp_path / "sweep", **QUICK)
    assert done.recipe == "series"
    assert all(trial.status == "finished" for trial in done.trials)


@pytest.mark.slow
def test_check_takes_the_same_recipe(series: Callable[[int], str], call: Call) -> None:
    status, out, err = call("check", "--data", series(30))
    assert (status, err) == (0, "")
    assert re.search(r"scaled +│ +30 × 130 × 2 │", out), out


@pytest.mark.slow
def test_causal_keeps_to_what_can_stream(series: Callable[[int], str], texts: str, tmp_path: Path) -> None:
    for data in (series(30), texts):
        run = train_run(data, causal=True, out=tmp_path / "run", overwrite=True, **QUICK)
        assert run.model.is_causal
        run.model.stream()
    with pytest.raises(ConfigError, match="causal reads a sequence as it comes, but scaling series needs all of it"):
        train_run(series(30), causal=True, scaling="series", out=tmp_path / "b")


def test_settings_that_suit_one_kind_are_checked_again_with_the_data(
    series: Callable[[int], str], tmp_path: Path
) -> None:
    choose_settings(None, {"nonlinearity": "relu"})
    with pytest.raises(ConfigError, match="cell gru has a fixed nonlinearity, got 'relu'"):
        train_run(series(30), nonlinearity="relu", out=tmp_path / "relu")
    with pytest.raises(ConfigError, match="lr must be above 0, got -1"):
        choose_settings(None, {"lr": -1.0})


@pytest.mark.parametrize("more", [{}, {"frame": "auto"}, {"causal": True}, {"recipe": "images"}], ids=str)
def test_the_command_in_the_report_trains_the_same_weights(
    series: Callable[[int], str], tmp_path: Path, call: Call, more: dict[str, Any]
) -> None:
    run = train_run(series(30), out=tmp_path / "run", **QUICK | more)
    assert run.config.plan is not None
    words = shlex.split(reproduce(run.config.plan))
    assert call(*words[1:], "--no-report", "--out", tmp_path / "again")[0] == 0
    weights = (run.path / "model.safetensors").read_bytes()
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_series_that_are_slow_to_read_take_fewer_steps(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, features, steps in (("narrow", 1, 600), ("wide", 2_000, 100)):
        x = random.normal(size=(40, 101, features)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(40) % 2)
        plan = Plan(str(tmp_path / f"{name}.npz"), None, *choose_settings(None, {}))
        splits = plan.load()
        assert plan.chosen(splits, None, {}).recipe.train.min_steps == steps
        assert plan.chosen(splits, None, {"min_steps": 700}).recipe.train.min_steps == 700


@pytest.mark.parametrize(("words", "steps"), [(4, 400), (60, 329), (2_000, 100)])
def test_texts_take_fewer_steps_the_longer_they_are(tmp_path: Path, words: int, steps: int) -> None:
    rows = [f"{label},{'word ' * words}{number}" for number in range(32) for label in ("yes", "no")]
    (tmp_path / "texts.csv").write_text("\n".join(["label,text", *rows]))
    plan = Plan(str(tmp_path / "texts.csv"), None, *choose_settings(None, {}))
    splits = plan.load()
    train = plan.chosen(splits, None, {}).recipe.train
    assert train.min_steps == pytest.approx(steps, rel=0.05)
    assert [train.steps_for(an_epoch) for an_epoch in (600, 1)] == [4 * 600, train.min_steps]


def test_why_there_are_fewer_steps_is_said() -> None:
    slow = RECIPES["series"].changed(min_steps=120)
    assert _fewer(slow, 120) == " (fewer than 600, as these series are slow to read)"
    assert _fewer(RECIPES["text"].changed(min_steps=120), 120) == " (fewer than 400, as these texts are slow to read)"
    assert [_fewer(recipe, 50) for recipe in (RECIPES["series"], slow.changed(training_steps=50))] == ["", ""]
    assert _fewer(slow, 3_000) == ""  # of many series there are more all the same
