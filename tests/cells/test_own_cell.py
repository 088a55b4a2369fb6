"""A cell of one's own on the command line, and in runs."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import unroll
from unroll.cli import main
from unroll.scan import cpu

Call = Callable[..., tuple[int, str, str]]

MODULE = """
import torch
import unroll

ran = []

class Own(unroll.Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.inner = torch.nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size, *, dtype, device):
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x, state):
        return 0.9 * state + torch.tanh(self.inner(x))

class Half(unroll.Cell):
    def step(self, x, state):
        return state
"""
FAULTY = f"""{MODULE}
class Wrong(Own):
    def step(self, x, state):
        return self.inner(state)

class Narrow(Own):
    def step(self, x, state):
        return self.inner(x)[:, 1:]

class Unborn(Own):
    def initial_state(self, batch_size, *, dtype, device):
        return self.start
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    path = list(sys.path)

    def run_command(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    yield run_command
    sys.path[:] = path
    for name in [name for name in sys.modules if Path(f"{name}.py").exists()]:
        del sys.modules[name]


QUICK = ("--epochs", 1, "--hidden-size", 8)


@pytest.mark.slow
def test_from_training_to_prediction(call: Call) -> None:
    Path("my_cells.py").write_text(MODULE)
    status, out, err = call("train", "--no-report", *QUICK, "--cell", "my_cells:Own")
    assert (status, err) == (0, "")
    assert "evaluate runs/mnist-sample-own-1 --cell my_cells:Own" in out
    run = Path("runs/mnist-sample-own-1")
    assert json.loads((run / "config.json").read_text())["model"]["cell"] == "my_cells:Own"
    assert call("evaluate", run, "--cell", "my_cells:Own")[0] == 0
    computed = "fused for float32" if cpu.INSTRUCTION_SETS else "a loop over Own.step()"
    assert computed in call("info", run, "--cell", "my_cells:Own")[1]
    assert call("check", run, "--cell", "my_cells:Own")[0] == 0
    assert unroll.load_run(run).model.config.cell == "my_cells:Own"  # the module has been imported
    own = importlib.import_module("my_cells").Own
    assert unroll.train_run(cell=own, epochs=1, hidden_size=8, out="by-class").model.config.cell == "my_cells:Own"


@pytest.mark.slow
def test_a_run_imports_nothing_by_itself(call: Call) -> None:
    Path("other_cells.py").write_text(MODULE)
    assert call("train", "--no-report", *QUICK, "--cell", "other_cells:Own", "--out", "run")[0] == 0
    del sys.modules["other_cells"]
    expected = (
        "unroll: the cell other_cells:Own is not part of unroll; if you trust it, import other_cells first, or pass "
        "--cell other_cells:Own\n"
    )
    for command in ("evaluate", "info", "check"):
        assert call(command, "run") == (2, "", expected)
    assert "other_cells" not in sys.modules
    with pytest.raises(unroll.ConfigError, match="the cell other_cells:Own is not part of unroll"):
        unroll.load_run("run")


@pytest.mark.slow
def test_an_interrupted_run_is_resumed_with_its_cell(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("more_cells.py").write_text(MODULE)
    original = unroll.training.loop.Training.events  # type: ignore[attr-defined]

    def stopping(self: object, pause: Callable[[], bool]) -> Iterator[object]:
        for number, event in enumerate(original(self, pause)):
            yield event
            if number == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("unroll.training.loop.Training.events", stopping)
        assert call("train", "--no-report", *QUICK, "--cell", "more_cells:Own", "--out", "run")[0] == 130
    assert call("train", "--no-report", "--resume", "run", "--cell", "lstm")[0] == 2
    assert call("train", "--no-report", "--resume", "run", "--cell", "more_cells:Own", "--epochs", 2)[0] == 2
    assert call("train", "--no-report", "--resume", "run", "--cell", "more_cells:Own")[0] == 0
    assert unroll.load_run("run").evaluation is not None


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("cells_a:Owm", "cells_a has no subclass Owm of unroll.Cell; it has Own, Half"),
        ("cells_a:ran", "cells_a has no subclass ran of unroll.Cell; it has Own, Half"),
        ("cells_a:Half", "the cell Half must define initial_state"),
        ("nowhere:Own", "there is no module nowhere, neither in the current folder nor installed; check the name"),
        ("broken:Own", "broken cannot be imported: ZeroDivisionError: division by zero"),
        ("needy:Own", "needy needs nothing_of_that_name, which is not installed"),
        ("os:path", "os has no subclass path of unroll.Cell; it has none"),
    ],
)
def test_what_is_no_cell(call: Call, cell: str, message: str) -> None:
    Path("cells_a.py").write_text(MODULE)
    Path("broken.py").write_text("1 / 0")
    Path("needy.py").write_text("import nothing_of_that_name")
    assert call("train", "--no-report", "--cell", cell) == (2, "", f"unroll: {message}\n")
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["check", "train"])
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("Wrong", "the cell Wrong: step raises RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x5 and 28x5)"
                  " (own.py:24: return self.inner(state))"),
        ("Narrow", "the cell Narrow: step must return the output, (batch, 5), or a tuple that begins with it, got shape"
                   " (2, 4) for 2 sequences"),
        ("Unborn", "the cell Unborn: initial_state raises AttributeError: 'Unborn' object has no attribute 'start'"
                   " (own.py:32: return self.start)"),
    ],
)  # fmt: skip
def test_what_a_cell_raises_is_said_in_a_line(call: Call, command: str, cell: str, message: str) -> None:
    Path("own.py").write_text(FAULTY)
    status, out, err = call(command, "--cell", f"own:{cell}", "--hidden-size", 5)
    assert (status, out, err) == (2, "", f"unroll: {message}\n")
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_module_of_the_folder_hides_none_that_is_installed(call: Call) -> None:
    Path("json.py").write_text("raise SystemExit('taken for the library')")
    Path("own.py").write_text("import json\n" + MODULE)
    assert call("train", "--no-report", *QUICK, "--cell", "own:Own")[0] == 0
