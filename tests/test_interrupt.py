"""Signals: a training saves before it ends, and ends as its caller expects."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import unroll
from forked import forked
from unroll import EpochResult, RunError, load_run, resume_run, run_sweep, train_run
from unroll.cli import main
from unroll.interrupt import deferred_signals, resignalled
from unroll.runs.checkpoint import read_checkpoint
from unroll.runs.config_file import read_config
from unroll.runs.execute import Event
from unroll.training.results import Progress

SETTINGS: dict[str, Any] = {"epochs": 2, "hidden_size": 8, "batch_size": 40, "checkpoint_seconds": 1e9}
ENDING = [signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """The signals that a program around unroll hears; its handler lets it live."""
    came: list[int] = []
    before = {signum: signal.signal(signum, lambda n, _: came.append(n)) for signum in ENDING}
    yield came
    for signum, handler in before.items():
        signal.signal(signum, handler)


def send(signum: int, number: int = 3) -> Callable[[Event], None]:
    """Return what sends a signal to this process at the given event within an epoch."""
    seen = 0

    def watch(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, Progress)
        if isinstance(event, Progress) and seen == number:
            os.kill(os.getpid(), signum)

    return watch


def steps_done(path: Path) -> int:
    return int(read_checkpoint(path, read_config(path))[0]["step"])


@pytest.mark.parametrize("signum", ENDING)
@pytest.mark.slow
def test_the_signal_is_raised_again_after_saving(
    signum: signal.Signals, heard: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    handler = signal.getsignal(signum)
    with pytest.raises(KeyboardInterrupt):
        train_run(out="here", watch=send(signum), **SETTINGS)
    assert heard == [signum]
    assert signal.getsignal(signum) is handler
    assert capsys.readouterr().err == f"unroll: stopped by {signum.name}; continue with: unroll train --resume here\n"
    assert steps_done(Path("here")) == 60
    whole = train_run(out="whole", **SETTINGS).path
    path = resume_run("here").path
    assert (path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_ctrl_c_saves_the_very_step() -> None:
    with pytest.raises(KeyboardInterrupt):
        train_run(out="here", watch=send(signal.SIGINT), **SETTINGS)
    assert steps_done(Path("here")) == 60


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_is_ignored_stays_ignored(signum: signal.Signals) -> None:
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        run = train_run(out="here", watch=send(signum), **SETTINGS)
        assert signal.getsignal(signum) is signal.SIG_IGN
    finally:
        signal.signal(signum, before)
    assert run.evaluation is not None


def test_a_second_ctrl_c_does_not_wait() -> None:
    with deferred_signals() as deferred:
        os.kill(os.getpid(), signal.SIGINT)
        assert deferred.signum == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        deferred.signum = None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_came_is_never_lost_to_an_error() -> None:
    def work() -> None:
        with deferred_signals():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("something else goes wrong meanwhile")

    with pytest.raises(KeyboardInterrupt):
        work()


def test_inside_another_block_the_outer_one_speaks(heard: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), resignalled(lambda: "outer"), resignalled(lambda: "inner"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    assert capsys.readouterr().err == "unroll: stopped by SIGTERM; continue with: outer\n"


def test_outside_the_main_thread_nothing_changes() -> None:
    before = [signal.getsignal(signum) for signum in (*ENDING, signal.SIGINT)]
    inside: list[Any] = []

    def work() -> None:
        with resignalled(lambda: None), deferred_signals():
            inside.extend(signal.getsignal(signum) for signum in (*ENDING, signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == before


@pytest.mark.slow
def test_a_sweep_is_stopped_once_and_says_how_it_goes_on(heard: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_sweep(search={"hidden_size": [2, 3]}, out="sweep", watch=send(signal.SIGTERM), epochs=2)
    assert heard == [signal.SIGTERM]
    assert capsys.readouterr().err == "unroll: stopped by SIGTERM; continue with: unroll sweep --resume sweep\n"
    assert [trial.status for trial in unroll.resume_sweep("sweep").trials] == ["finished", "finished"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_what_a_shell_sees(signum: signal.Signals) -> None:
    words = ["train", "--epochs", 1_000_000, "--hidden-size", 4, "--out", "here", "--checkpoint-seconds", 1_000_000]
    with forked(*words) as process:
        assert any(line.split()[:1] == ["1"] for line in process.stdout)  # the first row of the table
        process.send_signal(signum)
        status, _, err = process.rest()
    reason, expected = {
        signal.SIGTERM: ("stopped by SIGTERM", -signal.SIGTERM),
        signal.SIGINT: ("interrupted", 130),
    }[signum]
    assert status == expected
    assert err.startswith(f"unroll: {reason}; continue with: ")
    assert err.endswith(" train --resume here\n")
    assert len(read_checkpoint(Path("here"), read_config(Path("here")))[0]["history"]) >= 1
    with pytest.raises(RunError, match="here is not finished: run 'unroll train --resume here' first"):
        load_run("here")


@pytest.mark.slow
def test_survival() -> None:
    """Kills, flipped bits, refused trainings, two at once: a few of what the benchmark tries."""
    words = ["--kills", 1, "--every", 60, "--flips", 1, "--refused", 1, "--pairs", 1]
    with forked(*words, code="import sys; from benchmarks.survival import main; sys.exit(main())") as process:
        status, out, err = process.rest()
    assert status == 0, out + err
    assert len(out.splitlines()) == 7


def test_an_epoch_result_comes_before_the_end() -> None:
    """A signal at the last event of all still counts."""

    def watch(event: Event) -> None:
        if isinstance(event, EpochResult) and event.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_run(out="here", watch=watch, **SETTINGS)
    assert resume_run("here").evaluation is not None


def test_ctrl_c_while_pandas_parses_a_table_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pandas

    parse, rows = pandas.read_csv, [f"{n},{t},{t * n % 5},{'ab'[n % 2]}" for n in range(12) for t in range(6)]
    Path("d.csv").write_text("\n".join(["id,time,x,label", *rows]))

    def interrupted(*arguments: Any, **options: Any) -> Any:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as the parser, in C, hears of it when it is done
        os.kill(os.getpid(), signal.SIGINT)
        table = parse(*arguments, **options)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        return table

    monkeypatch.setattr(pandas, "read_csv", interrupted)
    try:
        assert main(["train", "--data", "d.csv", "--out", "run"]) == 130
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # else what later tests start would inherit it
    assert capsys.readouterr().err == "unroll: interrupted\n"
    assert [path.name for path in Path().iterdir()] == ["d.csv"]
