"""The measuring tools, and `unroll bench`: what is refused, what figures are made of, what is written."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from forked import forked
from unroll import bench, scan
from unroll.bench import clock, growth, limit, memory, models
from unroll.bench.clock import Contender, compare, difference
from unroll.bench.limit import LIMIT, SIZE, product
from unroll.bench.steps import CellName, Shape, Step, checked, right_results
from unroll.cli import main
from unroll.plots import png
from unroll.plots.bench import figure
from unroll.scan import cpu, torch_backend
from unroll.training import resident
from unroll.training.fused_step import FusedStep


@pytest.fixture(autouse=True)
def _restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between rounds, in which a real measurement lets the processor cool."""
    monkeypatch.setattr(clock, "REST", 0.0)


SMALL = Shape("rnn", time=3, inputs=2, hidden=5, batch=2)


def clockwork(*seconds: float) -> Callable[[int], float]:
    """A run that takes these seconds, call by call, after one to warm up."""
    given = itertools.chain(seconds[:1], seconds)
    return lambda count: count * next(given)


def test_medians_and_ratios_are_those_of_the_seconds() -> None:
    slow, base = [3.0, 8.0, 4.0, 9.0, 5.0], [1.0, 2.0, 2.0, 3.0, 1.0]
    contenders = [Contender("slow", {None: clockwork(*slow)}, flops=6.0), Contender("base", {2: clockwork(*base)})]
    comparison = compare("a race", contenders, "base", shortest=0)
    assert comparison.timing("slow").seconds == tuple(slow)
    assert comparison.ratio("slow") == (3.0, 2.0, 5.0)
    assert comparison.ratio("base") == (1.0, 1.0, 1.0)
    contenders_json = comparison.to_dict()["contenders"]
    assert contenders_json["slow"]["median"] == statistics.median(slow) == 5.0
    assert (contenders_json["slow"]["low"], contenders_json["slow"]["high"]) == (3.0, 9.0)
    assert contenders_json["slow"]["flop_per_second"] == 6.0 / 5.0
    assert (
        contenders_json["base"]["threads"],
        contenders_json["slow"]["threads"],
        contenders_json["base"]["flop_per_second"],
    ) == (2, None, None)


def test_seconds_are_per_unit_and_shares_of_the_limit_are_round_by_round() -> None:
    contenders = [
        Contender("step", {None: clockwork(2.0, 4.0, 2.0)}, units=2, flops=10.0),
        Contender("most", {None: clockwork(1.0, 1.0, 2.0)}, flops=20.0),
    ]
    comparison = compare("", contenders, "step", rounds=3, shortest=0, limit="most")
    assert comparison.timing("step").seconds == (1.0, 2.0, 1.0)
    assert comparison.of_limit("step") == (0.5, 0.25, 1.0)
    assert comparison.of_limit("most") == (1.0, 1.0, 1.0)
    assert comparison.ratio("most") is None


def test_the_fastest_number_of_threads_counts_and_the_others_are_told() -> None:
    runs = {1: clockwork(4.0, 4.0, 4.0), 2: clockwork(9.0, 3.0, 3.0)}
    comparison = compare("", [Contender("one", runs)], "one", rounds=3, shortest=0)
    assert comparison.timing("one").threads == 2
    assert comparison.timing("one").seconds == (9.0, 3.0, 3.0)
    assert comparison.to_dict()["contenders"]["one"]["with_other_threads"] == {"1": 4.0}


def test_a_hopeless_number_of_threads_is_not_tried_again() -> None:
    def slow(count: int) -> float:
        calls.append(count)
        return 1.0

    calls: list[int] = []
    comparison = compare("", [Contender("one", {1: lambda count: 0.1, 2: slow})], "one", rounds=3, shortest=0)
    assert (calls, comparison.timing("one").threads) == ([1], 1)


def test_contenders_take_turns_and_rounds_are_long_enough() -> None:
    calls: list[str] = []

    def run(name: str, seconds: float) -> Callable[[int], float]:
        def noted(count: int) -> float:
            calls.append(f"{name}{count}")
            return count * seconds

        return noted

    contenders = [Contender("a", {None: run("a", 0.01)}), Contender("b", {None: run("b", 1.0)})]
    comparison = compare("", contenders, "a", rounds=3, shortest=0.05)
    assert calls == ["a1", "a1", "a6", "b1", "b1", *["a6", "b1"] * 3]
    assert comparison.timing("a").seconds == pytest.approx((0.01,) * 3)


def test_what_is_wrong_is_named_and_not_timed() -> None:
    right = {"y": torch.ones(4, dtype=torch.float64)}

    def never(count: int) -> float:
        raise AssertionError("timed")

    wrong = {"off": torch.full((4,), 1.001), "nan": torch.tensor([1, 1, 1, torch.nan]), "short": torch.ones(3)}
    contenders = [Contender("right", {None: clockwork(1.0, 1.0)}, results=lambda: {"y": torch.ones(4)})]
    contenders += [Contender(name, {1: never}, results=lambda y=y: {"y": y}) for name, y in wrong.items()]
    contenders.append(Contender("nothing", {1: never}, results=dict))
    comparison = compare("", contenders, "right", expected=right, rounds=2, shortest=0)
    refused = {timing.name: timing.refused for timing in comparison.timings}
    assert refused == {
        "right": None,
        "off": "wrong results, not timed: y has a relative error of 1.0e-03, not within 1e-05",
        "nan": "wrong results, not timed: y has a relative error of nan, not within 1e-05",
        "short": "wrong results, not timed: y must have shape (4,), got (3,)",
        "nothing": "wrong results, not timed: y must have shape (4,), got nothing",
    }
    assert comparison.ratio("off") is None
    assert comparison.to_dict()["contenders"]["off"] == {"threads": None, "refused": refused["off"]}


def test_vanished_gradients_may_be_zero_but_no_others() -> None:
    gone, small = (torch.full((3,), value, dtype=torch.float64) for value in (1e-40, 1e-20))
    assert difference({"g": torch.zeros(3)}, {"g": gone}) is None
    assert "g has a relative error of 1.0e+00" in str(difference({"g": torch.zeros(3)}, {"g": small}))


def test_modes_are_put_back() -> None:
    tiny = torch.tensor(1e-39)
    threads = torch.get_num_threads()

    def interrupted() -> None:
        assert torch.get_num_threads() == threads + 1
        assert tiny * 0.5 == 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), clock.torch_threads(threads + 1), clock.flushed_denormals():
        interrupted()
    assert torch.get_num_threads() == threads
    assert tiny * 0.5 != 0


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("backend", [None, "auto", "torch"])
def test_steps_compute_what_the_reference_does(cell: CellName, backend: Any) -> None:
    shape = Shape(cell, 5, 3, 7, 2)
    right = right_results(shape)
    assert len(right) == 13  # outputs, final state twice, gradients of x, h0 and, twice, of four weights
    assert all(value.dtype == torch.float64 and bool(value.any()) for value in right.values())
    assert difference(Step(shape, backend).results(), right) is None


def test_arithmetic_is_counted_as_published() -> None:
    assert round(Shape("rnn").flops / 1e6) == 263
    assert round(models.FLOPS / 1e6) == 264
    assert round(Shape("rnn", 784, 1).flops / 1e6) == 6795  # and the head's
    assert Shape("lstm").flops == 4 * Shape("rnn").flops
    assert product().flops == 2 * SIZE**3


def test_big_shapes_are_checked_with_fewer_sequences() -> None:
    assert checked(Shape("gru")) == Shape("gru")
    assert checked(Shape("gru", time=4096)).batch == 13
    assert checked(Shape("gru", time=10_000_000)).batch == 1


def wrong_scan(*arguments: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    y, final = torch_backend.scan(*arguments)
    return y, tuple(1.001 * part for part in final)


@pytest.mark.skipif(not cpu.INSTRUCTION_SETS, reason=f'"auto" may be "torch" itself: backend cpu is {cpu.MISSING}')
@pytest.mark.slow
def test_a_wrong_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scan.SCANS, "torch", wrong_scan)
    monkeypatch.setattr(growth, "peak_memory", lambda *_: None)
    point = growth.measure_point("time", SMALL)
    assert point.comparison.timing("auto").refused is None
    reason = point.comparison.timing("torch").refused
    assert reason is not None
    assert reason.startswith("wrong results, not timed: ")
    assert not point.is_slower


@pytest.mark.skipif(not cpu.INSTRUCTION_SETS, reason=f"backend cpu is {cpu.MISSING}")
@pytest.mark.slow
def test_a_training_step_that_does_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FusedStep, "__call__", lambda *args: (torch.full((len(args[3]),), 64 * 2.3), 0))
    contenders, right = models.training_contenders()
    differences = {
        contender.name: difference(contender.results(), right) for contender in contenders if contender.results
    }
    assert differences["nn.RNN"] is None
    assert "losses while learning" in str(differences["unroll"])


def test_wrong_gradients_alone_are_refused() -> None:
    shape, right = SMALL, right_results(SMALL)
    step = Step(shape, "torch")
    step.weights[0].register_hook(lambda grad: grad * 1.001)
    reason = difference(step.results(), right)
    assert reason is not None
    assert reason.startswith("wrong results, not timed: gradient of w_ih")


@pytest.mark.slow
def test_the_loop_that_is_timed_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both classifiers are right, and bf16 is let off with the rounding of bf16 alone."""
    contenders, right = models.training_contenders()
    assert [contender.name for contender in contenders] == ["nn.RNN", "unroll", "unroll, bf16"]
    for contender in contenders:
        if contender.refused is None:
            assert contender.results is not None
            assert difference(contender.results(), right, contender.tolerance) is None
    evaluation, right = models.evaluation_contenders(100)
    latency, right_one = models.latency_contenders()
    for contender, expected in [(c, right) for c in evaluation] + [(c, right_one) for c in latency]:
        assert contender.results is not None
        assert difference(contender.results(), expected) is None


@pytest.mark.slow
def test_peak_memory_sees_what_c_allocates() -> None:
    """Outputs of 4,000 steps of 32 × 64 numbers are 32 MiB, gradients as much."""
    if not resident.STATUS.exists():
        pytest.skip("needs /proc")
    long = Shape("rnn", 4_000, 1, 64, 32)
    peak = memory.peak_memory(long, "auto", 1)
    assert peak is not None
    assert 24 * 2**20 < peak < 1024 * 2**20  # what was resident before and is free is used again, and does not count


def test_a_process_that_fails_gives_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false") or "false")
    assert memory.peak_memory(SMALL, "auto", 1) is None


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """All parts of the suite, at sizes that take no time."""
    monkeypatch.setattr(clock, "SHORTEST", 0.0)
    monkeypatch.setattr(limit, "SIZE", 64)
    monkeypatch.setattr(compare, "__kwdefaults__", {**(compare.__kwdefaults__ or {}), "shortest": 0.0, "rounds": 2})
    monkeypatch.setattr(growth, "ROUNDS", 2)
    monkeypatch.setattr(growth, "peak_memory", lambda shape, backend, threads: 2**20 * shape.time)
    monkeypatch.setattr(models, "TRAINED", 1)
    monkeypatch.setattr(models, "SHAPE", Shape("rnn", 28, 28, 20, 8))
    monkeypatch.setattr(bench, "IMAGES", 50)
    monkeypatch.setattr(bench, "evaluation_contenders", lambda: models.evaluation_contenders(50))
    small = [Shape("rnn", *sizes) for sizes in ((2, 28, 150, 64), (3, 28, 150, 64), (2, 28, 8, 64), (2, 28, 150, 3))]
    axes = ("time", "time", "hidden", "batch")
    monkeypatch.setattr(bench, "sizes", lambda: list(zip(axes, small, strict=True)))
    monkeypatch.setattr(bench, "Shape", lambda cell, time=3, inputs=2: Shape(cell, min(time, 4), inputs, 5, 2))


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run_command(*words: str) -> tuple[int, str, str]:
        status = main(["bench", *words])
        return status, *capsys.readouterr()

    return run_command


@pytest.mark.slow
def test_the_command_shows_and_writes(call: Call, tiny: None) -> None:
    status, out, err = call("--out", "here")
    assert (status, err) == (0, "")
    assert out.startswith("machine  ")
    for words in ("training step of the tutorial's model", "evaluation of 50 images", "one image", "GRU scan, forward"):
        assert words in out
    assert out.count("not timed") == (0 if cpu.BF16_ISA else 1)
    assert "\x1b" not in out
    written = json.loads(Path("here/bench.json").read_text())
    assert set(written) == {"machine", "full", "finished", "notes", "comparisons", "growth"}
    assert (written["full"], written["finished"], written["growth"]) == (False, True, [])
    assert written["machine"]["packages"]["torch"] == torch.__version__
    first = written["comparisons"][0]
    assert list(first["contenders"]) == ["nn.RNN", "unroll", "unroll, bf16", LIMIT]
    for comparison in written["comparisons"]:
        own = comparison["contenders"][comparison["base"]]["seconds"]
        for name, entry in comparison["contenders"].items():
            if entry["refused"] is not None:
                assert name == models.BF16
                assert not cpu.BF16_ISA
                continue
            assert entry["median"] == statistics.median(entry["seconds"])
            if name != LIMIT:
                ratios = [seconds / base for seconds, base in zip(entry["seconds"], own, strict=True)]
                assert entry["ratio"]["median"] == statistics.median(ratios)
    with Image.open("here/bench.png") as picture:
        assert picture.width > 500
    assert call("--out", "here")[::2] == (2, "unroll: here is not empty; choose another --out\n")


@pytest.mark.slow
def test_json_is_one_object_and_full_has_growth(call: Call, tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scan.SCANS, "torch", wrong_scan)
    status, out, err = call("--full", "--json")
    report = json.loads(out)
    assert status == 0
    assert len(report["comparisons"]) == 9
    assert [point["axis"] for point in report["growth"]] == ["time", "time", "hidden", "batch"]
    assert report["growth"][0]["peak_bytes"] == {"auto": 2**21, "torch": 2**21}
    assert report["growth"][0]["shape"] == {"cell": "rnn", "time": 2, "inputs": 28, "hidden": 150, "batch": 64}
    assert "rnn, 2 steps, 150 hidden, batch 64, torch: wrong results, not timed: " in err
    assert "growth: backends auto and torch" in err
    assert list(Path().iterdir()) == []


def test_sizes_where_auto_loses_are_marked() -> None:
    def point(*seconds: float) -> growth.Point:
        contenders = [Contender("auto", {2: clockwork(1.0, 1.0)}), Contender("torch", {1: clockwork(*seconds)})]
        return growth.Point("time", SMALL, compare("here", contenders, "auto", rounds=2, shortest=0), {})

    assert point(0.5, 0.9).is_slower
    assert not point(0.5, 1.1).is_slower
    assert point(0.5, 0.9).to_dict()["slower"] is True


@pytest.mark.slow
def test_the_picture_has_curves_where_there_is_growth(tiny: None) -> None:
    points = [growth.measure_point(axis, shape) for axis, shape in bench.sizes()[:2]]
    drawn = figure([], points, "here")
    assert png(drawn).startswith(b"\x89PNG")
    assert {ax.get_xscale() for ax in drawn.subfigs[0].axes} == {"log"}
    assert len(drawn.subfigs[0].axes) == 6
    assert [len(line.get_xdata()) for line in drawn.subfigs[0].axes[0].lines] == [2, 2]


def test_sizes_grow_one_axis_at_a_time() -> None:
    sizes = [shape for _, shape in growth.sizes() if shape.cell == "gru"]
    assert len(sizes) == len(set(sizes)) == 9
    middle = Shape("gru")
    for axis, shape in growth.sizes():
        same = [name for name in ("time", "hidden", "batch") if getattr(shape, name) == getattr(middle, name)]
        assert axis not in same or shape == Shape(shape.cell)
        assert len(same) >= 2


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_shown_and_writes_nothing(
    call: Call, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = bench.measure

    def interrupted(full: bool) -> Iterator[object]:
        yield from itertools.islice(measure(full), 4)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "measure", interrupted)
    status, out, err = call("--out", "here")
    assert status == 130
    assert "evaluation of 50 images" in out
    assert err == "unroll: interrupted; results so far are above, nothing was written\n"
    assert not Path("here").exists()
    status, out, _ = call("--json")
    report = json.loads(out)
    assert (status, report["finished"], len(report["comparisons"])) == (130, False, 2)


@pytest.mark.slow
def test_a_real_ctrl_c_ends_it_in_one_line() -> None:
    with forked("bench", "--out", "here") as process:
        assert process.stdout.readline().startswith("machine  ")
        process.send_signal(signal.SIGINT)
        status, _, err = process.rest()
    assert (status, err) == (130, "unroll: interrupted; results so far are above, nothing was written\n")
    assert not Path("here").exists()


def test_help_has_an_example(call: Call) -> None:
    assert "Example: unroll bench" in call("--help")[1]
