"""The public names, pinned; and that none of them costs an import before it is used."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import unroll
from forked import forked

NAMES = """Calibration Cell Comparison ConfigError CrossValidation DataError EpochResult Evaluation GRU IndRNN
InputError LRU LSTM MinGRU MinLSTM ModelConfig RECIPES RNN RNNClassifier Range Recipe Run RunError SequenceClassifier
SequenceData Splits Sweep TrainConfig Training TrainingError UnrollError UnrollWarning __version__
attribute calibrate cells compare_runs compiler cross_validate data doctor errors evaluate
evaluate_anytime export_html fit lessons load load_run plots predict read_along resume_cross_validation
resume_run resume_sweep run_sweep save scan testing train_run"""


def test_public_names_are_pinned() -> None:
    assert sorted(unroll.__all__) == sorted(NAMES.split())
    assert dir(unroll) == sorted(unroll.__all__)


@pytest.mark.parametrize("name", NAMES.split())
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(unroll, name)
    if name not in ("__version__", "RECIPES"):
        assert value.__doc__


def test_names_stay_what_they_are_after_their_modules_are_imported() -> None:
    first = {name: getattr(unroll, name) for name in unroll.__all__}
    assert first == {name: getattr(unroll, name) for name in unroll.__all__}


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'unroll' has no attribute 'fitt'"):
        _ = unroll.fitt


@pytest.mark.slow
def test_no_torch_before_it_is_needed() -> None:
    lines = [
        "import unroll",
        "unroll.TrainConfig(epochs=3)",
        "from unroll.cli import main",
        "main(['--help'])",
        "main(['train', '--help'])",
        "main(['sweep', '--help'])",
        "main(['train', '--epochs', 'x'])",
    ]
    check = "assert not {'torch', 'numpy'} & set(sys.modules)"
    code = "\n".join(["import sys", *(f"{line}; {check}, {line!r}" for line in lines)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_training_and_loading_leave_torch_s_compiler_alone() -> None:
    """Its import takes longer than to train a small model."""
    code = """
import sys
from pathlib import Path
from unroll.cli import main
small = "train --epochs 1 --hidden-size 4 --no-report --out"
rows = [f"{('good', 'bad')[n % 2]} film {n},{n % 2}" for n in range(20)]
Path("a.csv").write_text("\\n".join(["text,label", *rows]))
for words in (f"{small} run", "evaluate run", f"{small} texts --data a.csv", "evaluate texts"):
    assert main(words.split()) == 0
sys.exit(" ".join({"torch._dynamo", "sympy"} & set(sys.modules)) or 0)
"""
    with forked(code=code) as process:
        status, out, err = process.rest()
    assert (status, err) == (0, ""), out


def test_version_is_the_distribution_s() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    assert unroll.__version__ == project["version"]
