from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Any

import pytest

import unroll
from unroll import RECIPES, ConfigError, ModelConfig, TrainConfig
from unroll.config import DataConfig, Recipe
from unroll.config.signature import help_of

WEIGHTS = "class_weight must be balanced, or CLASS=WEIGHT,… with weights above 0 and at most 1,000,000,000"


@pytest.mark.parametrize(
    ("config", "setting", "message"),
    [
        (ModelConfig, {"hidden_size": -3}, "hidden_size must be at least 1, got -3"),
        (ModelConfig, {"hidden_size": 1.5}, "hidden_size must be of type int, got 1.5"),
        (ModelConfig, {"hidden_size": True}, "hidden_size must be of type int, got True"),
        (ModelConfig, {"num_layers": 0}, "num_layers must be at least 1, got 0"),
        (ModelConfig, {"bidirectional": 1}, "bidirectional must be of type bool, got 1"),
        (ModelConfig, {"dropout": 1.0, "num_layers": 2}, "dropout must be at least 0 and below 1, got 1.0"),
        (ModelConfig, {"dropout": 0.5}, "dropout acts between layers and needs num_layers of at least 2, got 1"),
        (
            ModelConfig,
            {"readout": "lats"},
            "readout must be one of last, mean, max, attention, got 'lats'; did you mean 'last'?",
        ),
        (TrainConfig, {"epochs": 0}, "epochs must be at least 1, got 0"),
        (TrainConfig, {"lr": float("nan")}, "lr must be a finite number, got nan"),
        (TrainConfig, {"lr": float("inf")}, "lr must be a finite number, got inf"),
        (TrainConfig, {"lr": 0.0}, "lr must be above 0, got 0.0"),
        (TrainConfig, {"lr": "fast"}, "lr must be of type float, got 'fast'"),
        (TrainConfig, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        (TrainConfig, {"weight_decay": -0.1}, "weight_decay must be at least 0, got -0.1"),
        (TrainConfig, {"val_fraction": 1.0}, "val_fraction must be at least 0 and below 1, got 1.0"),
        (TrainConfig, {"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, got 1.0"),
        (TrainConfig, {"consistency": -1.0}, "consistency must be at least 0, got -1.0"),
        (TrainConfig, {"noise": -1.0}, "noise must be at least 0, got -1.0"),
        (TrainConfig, {"min_epochs": 0}, "min_epochs must be at least 1, got 0"),
        (TrainConfig, {"min_steps": 0}, "min_steps must be at least 1, got 0"),
        (
            ModelConfig,
            {"causal": True, "bidirectional": True},
            "causal reads a sequence as it comes, but bidirectional needs all of it: give one of them",
        ),
        (ModelConfig, {"causal": True, "scaling": "both"}, "causal reads a sequence as it comes, but scaling both"),
        (TrainConfig, {"seed": -1}, "seed must be from 0 to 4294967295, got -1"),
        (TrainConfig, {"precision": "fp16"}, "precision must be one of fp32, bf16, got 'fp16'"),
        (TrainConfig, {"patience": 3}, "patience must be 0 with schedule 'one-cycle', got 3"),
        (TrainConfig, {"keep": "best", "val_fraction": 0.0}, "keep 'best' needs a validation split"),
        (TrainConfig, {"metric": "loss", "val_fraction": 0.0}, "metric 'loss' needs a validation split"),
        (TrainConfig, {"metric": "f1"}, "metric must be one of loss, accuracy, balanced-accuracy, macro-f1, got 'f1'"),
        (TrainConfig, {"class_weight": "even"}, WEIGHTS),
        (TrainConfig, {"class_weight": "a=1,b=0"}, f"{WEIGHTS}, got 'b=0'"),
        (TrainConfig, {"class_weight": "a=nan"}, f"{WEIGHTS}, got 'a=nan'"),
        (TrainConfig, {"class_weight": "=2"}, f"{WEIGHTS}, got '=2'"),
        (TrainConfig, {"class_weight": "a=1e40"}, f"{WEIGHTS}, got 'a=1e40'"),
        (TrainConfig, {"class_weight": "a=2,b=1,a=3"}, "class_weight names 'a' twice: leave one out"),
        (TrainConfig, {"budget": "0s"}, "budget must be a time above 0 such as 90s, 5m or 1h, got '0s'"),
        (TrainConfig, {"budget": f"{10**400}s"}, "budget must be a time above 0 such as 90s, 5m or 1h, got '1000000"),
        (TrainConfig, {"noise": 1e40}, "noise must be at most 1,000, got 1e+40"),
        (TrainConfig, {"drift": 1e40}, "drift must be at most 1,000, got 1e+40"),
        (TrainConfig, {"consistency": 1e40}, "consistency must be at most 1,000, got 1e+40"),
        *(
            (DataConfig, {name: 10**20}, f"{name} must be at most 2,147,483,647, got {10**20}")
            for name in ("vocabulary_size", "min_count", "every", "max_length", "window")
        ),
        *(
            (ModelConfig, {name: 10**20}, f"{name} must be at most 2,147,483,647, got {10**20}")
            for name in ("hidden_size", "embedding_size", "frame")
        ),
        (ModelConfig, {"num_layers": 10**20}, f"num_layers must be at most 1,000, got {10**20}"),
        (ModelConfig, {"forget_bias": 1e39}, "forget_bias must be from -1000 to 1000, got 1e+39"),
        (ModelConfig, {"forget_bias": -1e39}, "forget_bias must be from -1000 to 1000, got -1e+39"),
        (
            TrainConfig,
            {"patience": 3, "schedule": "constant", "val_fraction": 0},
            "patience 3 needs a validation split: val_fraction must be above 0, got 0",
        ),
    ],
)
def test_bad_settings_say_what_was_expected(config: type, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        config(**setting)


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        (DataConfig, {"max_length": 2**31 - 1}),
        (ModelConfig, {"num_layers": 1_000, "forget_bias": -1_000.0}),
        (TrainConfig, {"noise": 1_000.0, "class_weight": "a=1e9", "budget": "0.001s"}),
    ],
)
def test_the_largest_settings_are_taken(config: type, setting: dict[str, Any]) -> None:
    config(**setting)


def test_a_whole_number_will_do_for_a_float() -> None:
    assert TrainConfig(lr=1).lr == 1


@pytest.mark.parametrize("config", [DataConfig, ModelConfig, TrainConfig])
def test_every_setting_is_documented_with_its_default(config: type) -> None:
    for field in fields(config):
        text = help_of(config)[field.name]
        assert text.endswith(")" if field.default is None else f" (default {field.default})"), field.name


@pytest.mark.parametrize(
    ("function", "config", "own"),
    [
        (unroll.load, DataConfig, {"data", "y", "test", "groups", "layout", "data_dir", "scaling"}),
        (
            unroll.SequenceClassifier,
            ModelConfig,
            {"input_size", "num_classes", "vocabulary_size", "mask_size", "ngram_buckets"},
        ),
    ],
)
def test_a_function_of_settings_takes_each_by_name(function: Any, config: type, own: set[str]) -> None:
    parameters = inspect.signature(function).parameters
    derived = {"embedding_size"} if config is ModelConfig else set()  # input_size with a vocabulary
    assert set(parameters) == own | {field.name for field in fields(config)} - derived
    for field in fields(config):
        if field.name not in derived:
            assert parameters[field.name].default == field.default
            assert parameters[field.name].kind is inspect.Parameter.KEYWORD_ONLY
            assert re.search(rf"^ +{field.name}: \w", function.__doc__, re.MULTILINE)


def test_a_wrong_keyword_names_what_was_called() -> None:
    with pytest.raises(TypeError, match=r"SequenceClassifier.__init__\(\) got an unexpected keyword argument 'hiden'"):
        unroll.SequenceClassifier(28, 10, hiden=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"load\(\) got an unexpected keyword argument 'reed'"):
        unroll.load("mnist-sample", reed="rows")  # type: ignore[call-arg]


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1250), (57, 22), (125, 10), (844, 10)])
def test_the_step_budget_behind_epochs(steps: int, epochs: int) -> None:
    assert TrainConfig().steps_for(steps) == epochs * steps
    assert TrainConfig(epochs=3).steps_for(steps) == 3 * steps
    assert TrainConfig(training_steps=7).steps_for(steps) == 7


def test_a_recipe_is_changed_by_name() -> None:
    recipe = RECIPES["tutorial"].changed(hidden_size=64, epochs=2)
    assert (recipe.model.hidden_size, recipe.model.init, recipe.train.epochs, recipe.train.lr) == (64, "torch", 2, 1e-3)
    with pytest.raises(ConfigError, match="'hiden_size' is not a setting; did you mean 'hidden_size'"):
        recipe.changed(hiden_size=64)


def test_frames_and_a_stem_replace_those_of_a_recipe() -> None:
    with_frames = Recipe(model=ModelConfig(frame="auto"))
    with_stem = Recipe(model=ModelConfig(stem="conv"))
    for recipe, settings, expected in (
        (with_frames, {"stem": "conv"}, ("conv", "auto", 1)),
        (with_frames, {"stem": "conv", "stem_stride": 4}, ("conv", 4, 1)),
        (with_frames, {"stem": "none"}, ("none", "auto", "auto")),
        (with_frames, {"causal": True}, ("none", "auto", "auto")),
        (with_stem, {"hidden_size": 3}, ("conv", "auto", 1)),
        (with_stem, {"stem_stride": 4}, ("conv", 4, 1)),
        (with_stem, {"stem": "none"}, ("none", "auto", "auto")),
        (with_stem, {"stem": "none", "frame": 1}, ("none", "auto", 1)),
        (with_stem, {"frame": 8}, ("none", "auto", 8)),
        (with_stem, {"hop": 4}, ("none", "auto", "auto")),
        (with_stem, {"causal": True}, ("none", "auto", "auto")),
    ):
        model = recipe.changed(**settings).model
        assert (model.stem, model.stem_stride, model.frame) == expected, settings
    with pytest.raises(ConfigError, match="stem conv reads single time steps, got frame 8: give one of them"):
        with_stem.changed(stem="conv", frame=8)
    with pytest.raises(ConfigError, match="causal reads a sequence as it comes, but stem conv looks ahead"):
        with_stem.changed(stem="conv", causal=True)


def test_recipe_tutorial_is_the_tutorial_s() -> None:
    recipe = RECIPES["tutorial"]
    train = recipe.train
    assert (train.epochs, train.batch_size, train.lr, train.optimizer) == (10, 64, 1e-3, "adam")
    assert (train.schedule, train.clip_norm, train.val_fraction, train.weight_decay) == ("constant", 0, 0, 0)
    assert (recipe.model.scaling, recipe.model.init, recipe.model.hidden_size) == ("unit", "torch", 150)
