"""Measure the accuracies of docs/results.md again: each row is an `unroll train` command, run for each seed.

A row takes from seconds (vowels) to half an hour (pixels). Runs are kept in --out; finished ones are not repeated.
"""

from __future__ import annotations

import shlex
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import cyclopts

import unroll
from unroll.cli import main as unroll_command
from unroll.training.environment import describe


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        task: what is classified
        flags: of `unroll train`
        seeds: to train with
    """

    task: str
    flags: str
    seeds: tuple[int, ...] = (0, 1, 2)


ROWS = {
    "rows": Row("MNIST row by row, 150 tanh units", "--data mnist --recipe best"),
    "rows-gru": Row(
        "MNIST row by row, GRU of 256 units",
        "--data mnist --recipe best --cell gru --hidden-size 256 --epochs 20 --shift 2 --rotation 10",
    ),
    "sst2": Row("SST-2, whole sentences", "--data sst2"),
    "sarcasm": Row("sarcasm in headlines", "--data sarcasm"),
    "vowels-plain": Row(
        "JapaneseVowels, GRU", "--data ucr:JapaneseVowels --recipe images --cell gru", tuple(range(10))
    ),
    "vowels": Row(
        "JapaneseVowels, GRU in both directions",
        "--data ucr:JapaneseVowels --recipe images --cell gru --bidirectional --recurrent-dropout 0.3",
    ),
    "motions": Row(
        "BasicMotions, GRU", "--data ucr:BasicMotions --recipe images --cell gru --readout max --epochs 200"
    ),
    "pixels": Row(
        "MNIST pixel by pixel, GRU of 150 units",
        "--data mnist --read pixels --recipe best --cell gru --epochs 20 --precision bf16",
        (0,),
    ),
    "permuted": Row(
        "MNIST in permuted pixels, GRU of 150 units",
        "--data mnist --read permuted --recipe best --cell gru --epochs 20 --precision bf16",
        (0,),
    ),
}


def main(*names: str, out: Path = Path("runs/results")) -> int:
    """Train rows of the table and print accuracy and time.

    Parameters
    ----------
    names
        rows, rows-gru, sst2, sarcasm, vowels-plain, vowels, motions, pixels, permuted; default all.
    out
        Folder for the runs.
    """
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise SystemExit(f"results: rows are {', '.join(ROWS)}, got {', '.join(unknown)}")
    facts = describe()
    print(f"{facts['processor']}, {facts['threads']} threads, torch {facts['packages']['torch']}", flush=True)
    for name in names or ROWS:
        row = ROWS[name]
        accuracies, seconds = [], []
        for seed in row.seeds:
            path = out / f"{name}-{seed}"
            if not (path / "evaluation.json").exists():
                command = f"train {row.flags} --seed {seed} --out {path} --overwrite"
                print(f"unroll {command}", flush=True)
                start = time.perf_counter()
                if status := unroll_command(shlex.split(command)):
                    return status
                seconds.append(time.perf_counter() - start)
            evaluation = unroll.load_run(path).evaluation
            assert evaluation is not None
            accuracies.append(evaluation["accuracy"])
        each = ", ".join(f"{accuracy:.2%}" for accuracy in accuracies)
        took = f"; {statistics.mean(seconds):.0f} s each" if seconds else ""
        print(f"{row.task}: {statistics.mean(accuracies):.2%} (seeds {row.seeds}: {each}){took}", flush=True)
    return 0


if __name__ == "__main__":
    app = cyclopts.App(name="python -m benchmarks.results", help=__doc__)
    app.default(main)
    raise SystemExit(app())
