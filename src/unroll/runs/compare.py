"""Several finished runs side by side: what differs in their settings, how they do, and whether that is more than noise.

The best is held against each of the others. Runs that read the same test part are compared sequence by sequence, those
of which the predictions are not kept by their intervals, and settings that were all trained with several seeds by what
the seeds do. The best was picked by the same accuracies, so all p-values are corrected for as many tests as there are
pairs. Of copies of one training one is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import torch

from ..errors import InputError, RunError
from ..evaluation.significance import LEVEL, difference, holm, mcnemar, two_proportions, welch
from .folder import fresh, write_json
from .record import Record, in_words, read_record

Test = Literal["mcnemar", "intervals", "welch"]


@dataclass(frozen=True)
class Group:
    """Runs with the same settings on the same data, of different seeds.

    Attributes:
        name: the run's folder if it is one alone, else what its settings are
        settings: those in which the runs that are compared differ
        runs: in the order of their seeds
    """

    name: str
    settings: dict[str, Any]
    runs: tuple[Record, ...]

    @property
    def accuracies(self) -> list[float]:
        """Test accuracies, fractions, of the runs that have a test part."""
        return [run.accuracy for run in self.runs if run.accuracy is not None]

    @property
    def accuracy(self) -> float | None:
        """Mean over the runs, a fraction; None where none has a test part."""
        return fmean(self.accuracies) if self.accuracies else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the accuracy over the runs (n - 1 in its denominator); None of one alone."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None


@dataclass(frozen=True)
class Verdict:
    """Whether the best is better than another.

    Attributes:
        best: its name
        other: the other's name
        accuracies: of both, fractions; None without a test part
        test: "mcnemar" of two runs on the same sequences, "intervals" of two runs of which that is not known,
            "welch" of settings with several seeds each; None if no test was made
        reason: why it is that test, or none
        counts: sequences that the best alone has right, and those that the other alone has; None but for "mcnemar"
        difference: 95 % interval of the difference of the accuracies; None but for "intervals"
        p: p-value; None without a test
        corrected: the same, corrected by Holm's method for all pairs among which the best was picked
    """

    best: str
    other: str
    accuracies: tuple[float | None, float | None]
    test: Test | None
    reason: str
    counts: tuple[int, int] | None = None
    difference: tuple[float, float] | None = None
    p: float | None = None
    corrected: float | None = None

    @property
    def significant(self) -> bool:
        """Whether it is more than noise: the corrected p-value is below 0.05."""
        return self.corrected is not None and self.corrected < LEVEL

    def __str__(self) -> str:
        """In words, on one line."""
        first, second = ("–" if accuracy is None else f"{100 * accuracy:.2f}" for accuracy in self.accuracies)
        head = f"{self.best} and {self.other}: {first} and {second} %"
        if self.p is None:
            return f"{head}, no test: {self.reason}"
        verdict = "more than noise" if self.significant else "within noise"
        p = f"p {_p(self.p)}"
        if self.corrected is not None and _p(self.corrected) != _p(self.p):
            p += f", {_p(self.corrected).removeprefix('= ')} corrected by Holm's method"
        if self.counts:
            one, two = (f"{count:,}" for count in self.counts)
            return f"{head}, {verdict} (McNemar {p}: {one} sequences only {self.best} has right, {two} only the other)"
        if self.difference:
            low, high = (f"{100 * end:+.2f}" for end in self.difference)
            return f"{head}, {verdict} ({self.reason}: by their intervals the difference is {low} to {high} %, {p})"
        return f"{head} on average, {verdict} ({self.reason}: Welch {p})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**vars(self), "significant": self.significant, "words": str(self)}


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 1e-4 else "< 0.0001"


@dataclass(frozen=True)
class Comparison:
    """What `compare_runs` found.

    Attributes:
        groups: runs with the same settings together; best mean accuracy first
        differing: names of the settings in which the runs differ
        same_data: whether all were trained on the same data
        verdicts: the best beside each of the others
        pairs: of the runs, or settings, that the best was picked among; for so many p-values are corrected
        left_out: runs that cannot be compared, and why
    """

    groups: tuple[Group, ...]
    differing: tuple[str, ...]
    same_data: bool
    verdicts: tuple[Verdict, ...]
    pairs: int
    left_out: dict[str, str]

    @property
    def tests(self) -> int:
        """How many tests were made."""
        return sum(verdict.p is not None for verdict in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; accuracies are fractions."""
        return {
            "runs": [_facts(run, group) for group in self.groups for run in group.runs],
            "groups": [
                {
                    "name": group.name,
                    "settings": group.settings,
                    "runs": [str(run.path) for run in group.runs],
                    "accuracy": group.accuracy,
                    "deviation": group.deviation,
                }
                for group in self.groups
            ],
            "differing": list(self.differing),
            "same_data": self.same_data,
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "pairs": self.pairs,
            "left_out": self.left_out,
        }

    def write(self, out: str | Path) -> Path:
        """Write compare.json into a folder, new or empty; return the folder.

        Args:
            out: the folder.

        Raises:
            RunError: something stands there.
        """
        path = fresh(out, "compared", "runs")
        write_json(path / "compare.json", self.to_dict())
        return path


def _facts(run: Record, group: Group) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "settings": group.settings,
        "seed": run.seed,
        "data": run.data,
        "fingerprint": run.fingerprint,
        "parameters": run.parameters,
        "epochs": run.epochs,
        "accuracy": run.accuracy,
        "interval": run.interval and list(run.interval),
        "loss": run.loss,
        "n": run.n,
        "correct": run.correct,
        "seconds": run.seconds,
    }


def compare_runs(paths: Iterable[str | Path]) -> Comparison:
    """Set finished runs side by side.

    Args:
        paths: their folders, at least 2; one that cannot be compared is left out, and said so, and so is one that is
            the same training as one before it, a copy say.

    Raises:
        InputError: a run is given twice.
        RunError: fewer than 2 of them can be compared.

    Example:
        >>> import tempfile, unroll
        >>> folder = tempfile.mkdtemp()
        >>> small = {"epochs": 1, "hidden_size": 8}
        >>> a = unroll.train_run(out=f"{folder}/a", **small)
        >>> b = unroll.train_run(out=f"{folder}/b", **small, cell="gru")
        >>> unroll.compare_runs([a.path, b.path]).differing
        ('cell',)
    """
    records, left_out, seen = list[Record](), dict[str, str](), set[Path]()
    for path in map(Path, paths):
        if path.resolve() in seen:
            raise InputError(f"{path} is given twice: a run is compared with others")
        seen.add(path.resolve())
        try:
            record = read_record(path)
        except RunError as error:
            left_out[str(path)] = str(error)
            continue
        if (same := next((one for one in records if _is_same(one, record)), None)) is None:
            records.append(record)
        else:
            left_out[str(path)] = f"{path} is the same training as {same.path}"
    if len(records) < 2:
        reasons = "".join(f"; {reason}" for reason in left_out.values())
        raise RunError(f"compare needs at least 2 finished runs, got {len(records)}{reasons}")
    groups, differing = _group(records)
    same_data = len({record.fingerprint for record in records}) == 1
    verdicts, pairs = _judge(groups)
    return Comparison(groups, differing, same_data, tuple(verdicts), pairs, left_out)


def _is_same(one: Record, other: Record) -> bool:
    """Tell whether two runs are one training, copied or done again: it says nothing more of what seeds do."""
    if (one.seed, one.fingerprint, one.loss, one.n) != (other.seed, other.fingerprint, other.loss, other.n):
        return False
    if _settings(one) != _settings(other):
        return False
    first, second = one.predictions, other.predictions  # without them the loss has told it, to its last digit
    return not (first and second) or torch.equal(first.logits, second.logits)


def _settings(record: Record) -> dict[str, Any]:
    """Return what a run was trained with, its seed apart."""
    # Where patience ended it, each seed took its own number of epochs; elsewhere None and what it means are the same.
    epochs = record.settings["epochs"] if record.settings["patience"] else record.epochs
    return {**record.reading, **record.settings, "epochs": epochs}


def _group(records: Sequence[Record]) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """Return the runs by their settings, best mean first, and the names of the settings that differ."""
    every = [_settings(record) for record in records]
    differing = tuple(name for name in every[0] if len({str(settings[name]) for settings in every}) > 1)
    found = dict[str, list[int]]()
    for index, (record, settings) in enumerate(zip(records, every, strict=True)):
        found.setdefault(f"{record.fingerprint} {[settings[name] for name in differing]}", []).append(index)
    groups = []
    for members in found.values():
        settings = {name: every[members[0]][name] for name in differing}
        runs = tuple(sorted((records[index] for index in members), key=lambda run: run.seed))
        name = str(runs[0].path) if len(runs) == 1 else in_words(settings)
        groups.append(Group(name or "these settings", settings, runs))
    return tuple(sorted(groups, key=lambda group: -_or_worst(group.accuracy))), differing


def _or_worst(accuracy: float | None) -> float:
    return -1.0 if accuracy is None else accuracy


def _judge(groups: Sequence[Group]) -> tuple[list[Verdict], int]:
    """Hold the best against the others, settings where all have several seeds, else run against run; count the pairs.

    The best is the best of all: of equal ones some pair differs by chance the more surely, the more pairs there are.
    """
    if len(groups) == 1:
        return [], 0  # what they differ by is what seeds do, and the deviation says how much that is
    if all(len(group.runs) > 1 for group in groups):
        verdicts = [_over_seeds(groups[0], group) for group in groups[1:]]
        picked = [group.runs[0] for group in groups]
    else:
        picked = sorted((run for group in groups for run in group.runs), key=lambda run: -_or_worst(run.accuracy))
        verdicts = [_run_by_run(picked[0], run) for run in picked[1:]]
    among = 1 + sum(_pairing(picked[0], run)[0] is not None for run in picked[1:])
    pairs = among * (among - 1) // 2
    corrected = iter(holm([verdict.p for verdict in verdicts if verdict.p is not None], pairs))
    return [
        verdict if verdict.p is None else Verdict(**{**vars(verdict), "corrected": next(corrected)})
        for verdict in verdicts
    ], pairs


def _over_seeds(best: Group, other: Group) -> Verdict:
    accuracies = (best.accuracy, other.accuracy)
    paired, reason = _pairing(best.runs[0], other.runs[0])
    if paired is None:
        return Verdict(best.name, other.name, accuracies, None, reason)
    p = welch(best.accuracies, other.accuracies)
    if p is None:
        return Verdict(best.name, other.name, accuracies, None, "the accuracy is the same with every seed")
    seeds = f"over {len(best.runs)} and {len(other.runs)} seeds"
    return Verdict(best.name, other.name, accuracies, "welch", seeds, p=p)


def _run_by_run(best: Record, other: Record) -> Verdict:
    names, accuracies = (str(best.path), str(other.path)), (best.accuracy, other.accuracy)
    paired, reason = _pairing(best, other)
    if paired is None:
        return Verdict(*names, accuracies, None, reason)
    if not paired:
        first, second = (best.correct, best.n), (other.correct, other.n)
        p, interval = two_proportions(first, second), difference(first, second)
        return Verdict(*names, accuracies, "intervals", reason, difference=interval, p=p)
    assert best.predictions is not None
    assert other.predictions is not None
    mine, theirs = best.predictions.right, other.predictions.right
    counts = (int((mine & ~theirs).sum()), int((theirs & ~mine).sum()))
    return Verdict(*names, accuracies, "mcnemar", reason, counts=counts, p=mcnemar(*counts))


def _pairing(one: Record, other: Record) -> tuple[bool | None, str]:
    """Tell whether two runs read the same test part, and how that is known; None where they cannot be compared."""
    first, second = one.predictions, other.predictions
    if untested := [str(run.path) for run in (one, other) if not run.n]:
        return None, f"{' and '.join(untested)} {'has' if len(untested) == 1 else 'have'} no test part"
    if first and second and first.fingerprint == second.fingerprint and torch.equal(first.y, second.y):
        return True, "they read the same test part"
    if one.data == other.data and one.reading != other.reading:
        return False, "they read the data differently"
    if one.fingerprint != other.fingerprint or (first and second):
        return None, "their data differ"
    without = " and ".join(str(run.path) for run in (one, other) if run.predictions is None)
    return False, f"the predictions of {without} are not kept"
