"""Which instruction sets are used: UNROLL_ISA, what it takes and refuses; bf16 where there are no kernels for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import unroll
from forked import forked
from unroll import ConfigError, SequenceClassifier, TrainConfig
from unroll.bench import models
from unroll.scan import cpu
from unroll.scan.sets import ORDER, usable_sets
from unroll.training.environment import describe, describe_model
from unroll.training.fused_step import why_not_fused

Call = Callable[..., tuple[int, str, str]]

ALL = ("avx512", "avx2", "generic", "amx", "avx512_bf16")  # as the kernels give them: best first, fp32 before bf16
REFUSED = r"precision 'bf16' on a CPU needs kernels for it, got \w+: .+; use precision 'fp32'"


@pytest.mark.parametrize(
    ("word", "used"),
    [
        ("", ALL),
        ("amx", ALL),
        ("avx512_bf16", ("avx512", "avx2", "generic", "avx512_bf16")),
        ("avx512", ("avx512", "avx2", "generic")),
        ("avx2", ("avx2", "generic")),
        ("generic", ("generic",)),
        ("none", ()),
    ],
)
def test_no_set_above_the_one_named_is_used(word: str, used: tuple[str, ...]) -> None:
    assert usable_sets(word, ALL) == used


def test_none_and_nothing_are_possible_where_the_kernels_are_not_built() -> None:
    assert usable_sets("", ()) == usable_sets("none", ()) == ()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("avx512", "got 'avx512', which this processor or build lacks; unset it to use the best"),
        ("amx", "got 'amx', which this processor or build lacks; unset it to use the best"),
        ("AVX2", "got 'AVX2'; did you mean 'avx2'?; unset it to use the best"),
        ("sse", "got 'sse'; unset it to use the best"),
        (" ", "got ' '; unset it to use the best"),
    ],
)
def test_what_is_unknown_or_not_there_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        usable_sets(word, ("avx2", "generic"))
    assert str(error.value) == f"UNROLL_ISA must be one of none, generic, avx2, {message}"


def test_the_sets_in_use_are_known_and_no_others_are_named() -> None:
    assert set(cpu.INSTRUCTION_SETS) <= set(cpu.AVAILABLE["fp32"]) <= set(ORDER)
    assert set(cpu.BF16_INSTRUCTION_SETS) <= set(cpu.AVAILABLE["bf16"]) <= set(ORDER)
    if os.environ.get("UNROLL_ISA"):
        highest = max(map(ORDER.index, (*cpu.INSTRUCTION_SETS, *cpu.BF16_INSTRUCTION_SETS)), default=0)
        assert highest <= ORDER.index(os.environ["UNROLL_ISA"])


def under(word: str, script: str) -> tuple[int, str, str]:
    with forked(code=script, UNROLL_ISA=word) as process:
        return process.rest()


@pytest.mark.slow
def test_a_bad_value_is_one_line_as_soon_as_the_kernels_are_needed() -> None:
    script = """
import sys, unroll
from unroll.cli import main
try:
    unroll.SequenceClassifier
except unroll.ConfigError as error:
    print(error)
assert main(["--version"]) == 0
sys.exit(main(["info"]))
"""
    status, out, err = under("avx3", script)
    message = "UNROLL_ISA must be one of none, "
    assert out.startswith(message)
    assert out.endswith(f"\n{unroll.__version__}\n")
    assert status == 2
    assert err == f"unroll: {out.splitlines()[0]}\n"


@pytest.mark.slow
def test_none_switches_the_kernels_off() -> None:
    _, out, _ = under("none", "from unroll.cli import main\nmain(['info', '--json'])")
    info = json.loads(out)
    why = "switched off by UNROLL_ISA=none; " if cpu.kernels else "not built, as "
    assert info["backends"]["cpu"].startswith(why)
    assert info["instruction_sets"]["fp32"].startswith(f"none: {why}")
    assert info["instruction_sets"]["UNROLL_ISA"] == "none, the highest instruction set allowed"
    assert info["default_backends"]["rnn, training"] == "gemm: fastest with gradients on a CPU"


def test_the_sets_are_shown_with_what_limits_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "AVAILABLE", {"fp32": ALL[:3], "bf16": ALL[3:]})
    monkeypatch.setattr(cpu, "ISA", "avx512")
    monkeypatch.setattr(cpu, "BF16_ISA", "amx")
    monkeypatch.setattr(cpu, "LIMIT", "")
    shown = {"fp32": "avx512", "bf16": "amx", "available": "generic, avx2, avx512, avx512_bf16, amx"}
    assert describe()["instruction_sets"] == shown
    monkeypatch.setattr(cpu, "LIMIT", "amx")
    assert describe()["instruction_sets"] == {**shown, "UNROLL_ISA": "amx, the highest instruction set allowed"}


@pytest.fixture
def without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that lacks bf16, wherever the tests run."""
    monkeypatch.setattr(cpu, "BF16_ISA", "")
    monkeypatch.setattr(cpu, "BF16_INSTRUCTION_SETS", ())


def test_the_reason_against_bf16_names_what_is_to_blame(monkeypatch: pytest.MonkeyPatch, without_bf16: None) -> None:
    monkeypatch.setattr(cpu, "kernels", None)
    assert cpu.why_not_bf16() == "the kernels are not built"
    monkeypatch.setattr(cpu, "kernels", object())
    monkeypatch.setattr(cpu, "AVAILABLE", {"fp32": ("generic",), "bf16": ()})
    assert cpu.why_not_bf16() == "this processor or build has neither avx512_bf16 nor amx"
    monkeypatch.setattr(cpu, "AVAILABLE", {"fp32": ALL[:3], "bf16": ALL[3:]})
    monkeypatch.setattr(cpu, "LIMIT", "avx2")
    assert cpu.why_not_bf16() == "UNROLL_ISA=avx2 excludes avx512_bf16"


def test_bf16_is_refused_on_a_cpu_alone(without_bf16: None) -> None:
    with pytest.raises(ConfigError, match=REFUSED):
        cpu.check_precision("bf16", torch.device("cpu"))
    cpu.check_precision("bf16", torch.device("cuda"))
    cpu.check_precision("fp32", torch.device("cpu"))


def test_training_in_bf16_is_refused_before_anything_is_changed(
    call: Call, small: unroll.Splits, without_bf16: None
) -> None:
    config = TrainConfig(precision="bf16", device="cpu")
    model = SequenceClassifier(28, 10, hidden_size=8)
    for begin in (unroll.fit, unroll.Training):
        with pytest.raises(ConfigError, match=REFUSED):
            begin(model, small, config)
    with pytest.raises(ConfigError, match=REFUSED):
        unroll.run_sweep(search={"precision": ["fp32", "bf16"]}, device="cpu")
    for words in (["train"], ["check"], ["sweep", "--lr", "1e-3,1e-2"]):
        status, out, err = call(*words, "--precision", "bf16", "--device", "cpu")
        assert (status, out) == (2, "")
        assert err.startswith("unroll: precision 'bf16' on a CPU needs kernels for it, got ")
        assert err.count("\n") == 1
    assert list(Path().iterdir()) == []


@pytest.fixture
def elsewhere() -> Path:
    """A run that says that it was trained in bf16."""
    run = unroll.train_run(out="elsewhere", epochs=1, hidden_size=8, device="cpu")
    config = json.loads((run.path / "config.json").read_text())
    config["train"]["precision"] = "bf16"
    (run.path / "config.json").write_text(json.dumps(config))
    return run.path


def test_a_run_that_was_interrupted_elsewhere_is_not_resumed(
    call: Call, without_bf16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(event: object) -> None:
        raise RuntimeError("stop here")

    with monkeypatch.context() as patch:  # as a machine with kernels for bf16 would begin it
        patch.setattr("unroll.training.loop.check_precision", lambda *_: None)
        with pytest.raises(RuntimeError, match="stop here"):
            unroll.train_run(out="elsewhere", precision="bf16", hidden_size=4, epochs=1, watch=stop)
    before = Path("elsewhere/resume.pt").read_bytes()
    status, _, err = call("train", "--resume", "elsewhere")
    assert status == 2
    assert err.startswith("unroll: precision 'bf16' on a CPU needs kernels for it, got ")
    assert Path("elsewhere/resume.pt").read_bytes() == before


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_a_run_trained_in_bf16_elsewhere_is_used_in_float32(call: Call, elsewhere: Path, without_bf16: None) -> None:
    status, out, err = call("evaluate", elsewhere, "--json")
    assert (status, err) == (0, "unroll: the run was trained in bf16; it is evaluated in float32\n")
    assert json.loads(out)["accuracy"] == json.loads((elsewhere / "evaluation.json").read_text())["accuracy"]
    status, out, err = call("info", elsewhere, "--json")
    facts = json.loads(out)["run"]
    assert (status, err) == (0, "")
    assert facts["training"].startswith("precision 'bf16' on a CPU needs kernels for it, got ")
    assert facts["training_step"] == "none"
    assert facts["precision"] == "trained in bf16; the weights, and everything except training, are float32"
    for command in ("doctor", "report"):
        assert call(command, elsewhere)[0] == 0
    assert "trained in bf16; it predicts in float32" in (elsewhere / "report.html").read_text()


def test_a_model_in_float32_says_nothing_of_bf16() -> None:
    assert "precision" not in describe_model(SequenceClassifier(3, 2), TrainConfig())


@pytest.mark.slow
def test_bench_does_not_time_bf16_and_says_why(without_bf16: None) -> None:
    refused = models.refused_bf16()
    assert refused is not None
    assert (refused.name, refused.runs, refused.results) == ("unroll, bf16", {}, None)
    assert str(refused.refused).startswith("no kernels for bf16: ")
    contenders, _ = models.training_contenders()
    assert contenders[-1] == refused


def test_a_fused_step_needs_kernels_for_its_precision(without_bf16: None, small: unroll.Splits) -> None:
    model = SequenceClassifier(28, 10, hidden_size=8)
    config = replace(TrainConfig(), precision="bf16", device="cpu")
    assert "the scan is computed by torch" in why_not_fused(model, small.train, config)
