"""Compare finished runs: differences in their settings, accuracies, and tests of significance.

The best run is compared with each of the others: sequence by sequence if both have predictions for the same test set,
by the intervals of their accuracies if predictions are missing, and over seeds if every setting has several seeds. As
the best was chosen by the same accuracies, all p-values are corrected for the number of pairs. Copies of a run are
skipped. Runs tested on different data are not ranked: each data set has its own best. Runs with predictions for the
same test set are also averaged: what is the mean of their probabilities worth?
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import torch
from torch import Tensor

from ..config.data import CUTS, OF_SERIES
from ..errors import InputError, RunError
from ..evaluation.calibration import Calibration
from ..evaluation.metrics import Evaluation
from ..evaluation.predictions import Predictions
from ..evaluation.significance import LEVEL, difference, holm, mcnemar, two_proportions, welch
from ..formatting import in_words
from ..models.ensemble import log_mean
from .folder import fresh, write_json
from .record import Record, read_record

# Fields of `DataConfig` that say which sequences are held out.
DRAWN = ("test_fraction", "split_seed", "fold", *CUTS, "window", "lines")

Test = Literal["mcnemar", "intervals", "welch", "resampled"]


@dataclass(frozen=True)
class Group:
    """Runs with the same settings on the same data, with different seeds.

    Attributes:
        name: the run's folder if there is only one, else the settings in words
        settings: those in which the compared runs differ
        runs: ordered by seed
        data: number of the data set that they were tested on, from 0
    """

    name: str
    settings: dict[str, Any]
    runs: tuple[Record, ...]
    data: int = 0

    @property
    def accuracies(self) -> list[float]:
        """Test accuracies of the runs that have a test set, fractions."""
        return [run.accuracy for run in self.runs if run.accuracy is not None]

    @property
    def accuracy(self) -> float | None:
        """Mean over the runs, a fraction; None if no run has a test set."""
        return fmean(self.accuracies) if self.accuracies else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the accuracy over the runs (n - 1 in its denominator).

        None for a single run, and where runs share members: these are not independent.
        """
        return stdev(self.accuracies) if len(self.accuracies) > 1 and not self.shared else None

    @property
    def shared(self) -> str:
        """Which two of the runs, ensembles, share members, in words; empty if none do."""
        for first, second in combinations(self.runs, 2):
            if seeds := _shared_seeds(first, second):
                which = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
                apart = f"choose seeds at least {first.settings['ensemble']} apart"
                return f"{first.path} and {second.path} share members ({which}); {apart}"
        return ""


@dataclass(frozen=True)
class Verdict:
    """A test of whether the best is better than a rival.

    Attributes:
        best: name of the best
        rival: name of the rival
        accuracies: of both, fractions; None without a test set
        test: "mcnemar" for two runs on the same sequences, "intervals" for two runs without predictions to compare,
            "welch" for settings with several seeds each, "resampled" for two cross-validations; None if no test was
            made
        reason: why this test was chosen, or why there is none
        counts: sequences that only the best classifies correctly, and that only the rival does; only for "mcnemar"
        difference: 95 % interval of the difference of the accuracies; only for "intervals" and "resampled"
        p: p-value; None without a test
        corrected: the p-value corrected by Holm's method for all pairs among which the best was chosen
    """

    best: str
    rival: str
    accuracies: tuple[float | None, float | None]
    test: Test | None
    reason: str
    counts: tuple[int, int] | None = None
    difference: tuple[float, float] | None = None
    p: float | None = None
    corrected: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the difference is significant: the corrected p-value is below 0.05."""
        return self.corrected is not None and self.corrected < LEVEL

    def __str__(self) -> str:
        """Return the verdict in words, on one line."""
        first, second = ("–" if accuracy is None else f"{100 * accuracy:.2f}" for accuracy in self.accuracies)
        head = f"{self.best} and {self.rival}: {first} and {second} %"
        if self.p is None:
            return f"{head}, no test: {self.reason}"
        verdict = "more than noise" if self.significant else "within noise"
        p = f"p {_p(self.p)}"
        if self.corrected is not None and _p(self.corrected) != _p(self.p):
            p += f", {_p(self.corrected).removeprefix('= ')} corrected by Holm's method"
        if self.counts:
            won, lost = (f"{count:,}" for count in self.counts)
            counts = f"{won} sequences correct only in {self.best}, {lost} only in the other"
            return f"{head}, {verdict} (McNemar {p}: {counts})"
        if self.difference:
            low, high = (f"{100 * end:+.2f}" for end in self.difference)
            return f"{head}, {verdict} ({self.reason}: 95 % interval of the difference {low} to {high} %, {p})"
        return f"{head} on average, {verdict} ({self.reason}: Welch {p})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**vars(self), "significant": self.significant, "words": str(self)}


@dataclass(frozen=True)
class Mean:
    """Several runs as one, by the mean of their calibrated probabilities on the test set that they share.

    Attributes:
        data: number of the data set, as of the `Group`
        runs: folders of those with stored predictions of it, the best first
        evaluation: of the mean
        best: accuracy of the best of them, a fraction
        p: of McNemar's test between the mean and the best
    """

    data: int
    runs: tuple[str, ...]
    evaluation: Evaluation
    best: float
    p: float

    @property
    def gain(self) -> float:
        """The accuracy of the mean less that of the best run, a fraction."""
        return self.evaluation.accuracy - self.best

    def __str__(self) -> str:
        """Return the gain in words, on one line."""
        verdict = "more than noise" if self.p < LEVEL else "within noise"
        figures = f"{100 * self.evaluation.accuracy:.2f} %, {100 * self.gain:+.2f} points over the best, {self.runs[0]}"
        return (
            f"mean of {len(self.runs)} runs: {figures}, {verdict} (McNemar p {_p(self.p)}); unroll predict --with "
            "averages runs"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        of_mean = {name: self.evaluation.to_dict()[name] for name in ("accuracy", "interval", "loss", "n", "correct")}
        return {"data": self.data, "runs": list(self.runs), **of_mean, "gain": self.gain, "p": self.p}


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 1e-4 else "< 0.0001"


@dataclass(frozen=True)
class Comparison:
    """The result of `compare_runs`.

    Attributes:
        groups: runs with the same settings together; of each set of data the best mean accuracy first
        differing: names of the settings in which the runs differ
        same_data: whether all were trained on the same data
        verdicts: for each data set, the best against each of the others
        pairs: number of pairs of the runs, or settings, among which the best was chosen; p-values are corrected for it
        left_out: runs that were skipped, and why
        means: of each data set of which two runs or more have stored predictions, the mean of these
    """

    groups: tuple[Group, ...]
    differing: tuple[str, ...]
    same_data: bool
    verdicts: tuple[Verdict, ...]
    pairs: int
    left_out: dict[str, str]
    means: tuple[Mean, ...] = ()

    @property
    def by_data(self) -> tuple[tuple[Group, ...], ...]:
        """The groups that can be ranked, as they were tested on the same data."""
        return tuple(tuple(groups) for _, groups in groupby(self.groups, key=lambda group: group.data))

    @property
    def tests(self) -> int:
        """Number of tests made."""
        return sum(verdict.p is not None for verdict in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; accuracies are fractions."""
        return {
            "runs": [_facts(run, group) for group in self.groups for run in group.runs],
            "groups": [
                {
                    "name": group.name,
                    "settings": group.settings,
                    "data": group.data,
                    "runs": [str(run.path) for run in group.runs],
                    "accuracy": group.accuracy,
                    "deviation": group.deviation,
                }
                for group in self.groups
            ],
            "differing": list(self.differing),
            "same_data": self.same_data,
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "means": [mean.to_dict() for mean in self.means],
            "pairs": self.pairs,
            "left_out": self.left_out,
        }

    def write(self, out: str | Path) -> Path:
        """Write compare.json into a folder, new or empty; return the folder.

        Args:
            out: the folder.

        Raises:
            RunError: the folder is not empty, or cannot be made.
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
        "baseline": run.baseline and run.baseline._asdict(),
    }


def compare_runs(paths: Iterable[str | Path]) -> Comparison:
    """Compare finished runs.

    Args:
        paths: their folders, at least 2. Runs that cannot be compared, and copies of an earlier one, are skipped; see
            ``left_out``.

    Raises:
        InputError: a path is given twice.
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
            raise InputError(f"{path} is given twice: leave one out")
        seen.add(path.resolve())
        try:
            record = read_record(path)
        except RunError as error:
            left_out[str(path)] = str(error)
            continue
        if (same := next((earlier for earlier in records if _is_same(earlier, record)), None)) is None:
            records.append(record)
        else:
            left_out[str(path)] = f"{path} is the same training as {same.path}"
    if len(records) < 2:
        reasons = "".join(f"; {reason}" for reason in left_out.values())
        raise RunError(f"compare needs at least 2 finished runs, got {len(records)}{reasons}")
    groups, differing = _group(records)
    same_data = len({record.fingerprint for record in records}) == 1
    verdicts, pairs = _judge(groups)
    return Comparison(groups, differing, same_data, tuple(verdicts), pairs, left_out, tuple(_means(groups)))


def _is_same(a: Record, b: Record) -> bool:
    """Return whether two runs are the same training, copied or repeated: it adds no information about seeds."""
    if (a.seed, a.fingerprint, a.loss, a.n) != (b.seed, b.fingerprint, b.loss, b.n):
        return False
    if _settings(a) != _settings(b):
        return False
    first, second = a.predictions, b.predictions  # without predictions, the equal loss has to do
    return not (first and second) or torch.equal(first.logits, second.logits)


def _settings(record: Record) -> dict[str, Any]:
    """Return the settings of a run, without its seed."""
    # With patience, the number of epochs depends on the seed; otherwise None and the default it stands for are equal.
    epochs = record.settings["epochs"] if record.settings["patience"] else record.epochs
    return {**record.reading, **record.settings, "epochs": epochs}


def _group(records: Sequence[Record]) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """Return the runs by their settings, best mean first, and the names of the settings that differ."""
    every = [_settings(record) for record in records]
    differing = tuple(name for name in every[0] if len({str(settings[name]) for settings in every}) > 1)
    by_setting = dict[str, list[int]]()
    for index, (record, settings) in enumerate(zip(records, every, strict=True)):
        by_setting.setdefault(f"{record.fingerprint} {[settings[name] for name in differing]}", []).append(index)
    groups, sets = list[Group](), list[Record]()
    for members in by_setting.values():
        settings = {name: every[members[0]][name] for name in differing}
        runs = tuple(sorted((records[index] for index in members), key=lambda run: run.seed))
        name = str(runs[0].path) if len(runs) == 1 else in_words(settings)
        number = next((n for n, first in enumerate(sets) if _pairing(first, runs[0])[0] is not None), len(sets))
        sets += runs[:1] if number == len(sets) else ()
        groups.append(Group(name or "these settings", settings, runs, number))
    return tuple(
        sorted(groups, key=lambda group: (not group.accuracies, group.data, -_or_worst(group.accuracy)))
    ), differing


def _or_worst(accuracy: float | None) -> float:
    return -1.0 if accuracy is None else accuracy


def _judge(groups: Sequence[Group]) -> tuple[list[Verdict], int]:
    """Test the best on each data set against the others; count the pairs."""
    verdicts, pairs = list[Verdict](), 0
    for _, same in groupby(groups, key=lambda group: group.data):
        some, count = _judge_comparable(list(same))
        verdicts, pairs = [*verdicts, *some], pairs + count
    corrected = iter(holm([verdict.p for verdict in verdicts if verdict.p is not None], pairs))
    return [
        verdict if verdict.p is None else Verdict(**{**vars(verdict), "corrected": next(corrected)})
        for verdict in verdicts
    ], pairs


def _judge_comparable(groups: Sequence[Group]) -> tuple[list[Verdict], int]:
    """Test the best against the others: settings if all have several seeds, else single runs. Count the pairs.

    The best is the best of all: even among equal models, the more pairs there are, the likelier one differs by chance.
    """
    if len(groups) == 1:
        return [], 0  # they differ only in their seeds, whose spread the deviation gives
    if all(len(group.runs) > 1 for group in groups):
        verdicts = [_over_seeds(groups[0], group) for group in groups[1:]]
        picked = [group.runs[0] for group in groups]
    else:
        picked = sorted((run for group in groups for run in group.runs), key=lambda run: -_or_worst(run.accuracy))
        verdicts = [_run_by_run(picked[0], run) for run in picked[1:]]
    among = 1 + sum(_pairing(picked[0], run)[0] is not None for run in picked[1:])
    return verdicts, among * (among - 1) // 2


def _means(groups: Sequence[Group]) -> Iterator[Mean]:
    """Yield the mean of the runs on each data set."""
    for number, same in groupby(groups, key=lambda group: group.data):
        stored = (run for group in same for run in group.runs if run.n and run.predictions is not None)
        runs = sorted(stored, key=lambda run: -_or_worst(run.accuracy))
        alike = [run for run in runs if _pairing(runs[0], run)[0] and _classes(run) == _classes(runs[0])]
        each = [(run.predictions, run.calibration) for run in alike]
        logs = [_logs(predictions, calibration) for predictions, calibration in each if predictions is not None]
        (first, _), *_ = each or [(None, None)]
        if len(logs) > 1 and first is not None:
            mean = replace(first, logits=log_mean(logs).float())
            counts = (int((mean.right & ~first.right).sum()), int((first.right & ~mean.right).sum()))
            best = float(first.right.double().mean())
            yield Mean(number, tuple(str(run.path) for run in alike), mean.evaluation, best, mcnemar(*counts))


def _classes(run: Record) -> tuple[str, ...]:
    return run.predictions.classes if run.predictions else ()


def _logs(predictions: Predictions, calibration: Calibration | None) -> Tensor:
    """Return the logarithms of calibrated probabilities, (N, classes) float64."""
    return (predictions.logits.double() / (calibration.temperature if calibration else 1.0)).log_softmax(dim=1)


def _over_seeds(best: Group, rival: Group) -> Verdict:
    accuracies = (best.accuracy, rival.accuracy)
    paired, reason = _pairing(best.runs[0], rival.runs[0])
    if paired is None:
        return Verdict(best.name, rival.name, accuracies, None, reason)
    if shared := best.shared or rival.shared:
        return Verdict(best.name, rival.name, accuracies, None, shared)
    p = welch(best.accuracies, rival.accuracies)
    if p is None:
        return Verdict(best.name, rival.name, accuracies, None, "the accuracy is the same with every seed")
    seeds = f"over {len(best.runs)} and {len(rival.runs)} seeds"
    return Verdict(best.name, rival.name, accuracies, "welch", seeds, p=p)


def _shared_seeds(a: Record, b: Record) -> range:
    """Return the seeds of the members that two ensembles with the same settings share, ``a`` with the lower seed.

    Trainings with one seed are the same if they hold the same out: by ``val_seed``, or if an equal loss shows it.
    """
    members, has_one_split = a.settings["ensemble"], a.settings["val_seed"] is not None
    losses = zip(a.member_losses[b.seed - a.seed :], b.member_losses, strict=False)
    is_same = members > 1 and (has_one_split or any(first == second for first, second in losses))
    return range(b.seed, a.seed + members) if is_same else range(0)


def _run_by_run(best: Record, rival: Record) -> Verdict:
    names, accuracies = (str(best.path), str(rival.path)), (best.accuracy, rival.accuracy)
    paired, reason = _pairing(best, rival)
    if paired is None:
        return Verdict(*names, accuracies, None, reason)
    if not paired:
        first, second = (best.correct, best.n), (rival.correct, rival.n)
        p, interval = two_proportions(first, second), difference(first, second)
        return Verdict(*names, accuracies, "intervals", reason, difference=interval, p=p)
    assert best.predictions is not None
    assert rival.predictions is not None
    right, rival_right = best.predictions.right, rival.predictions.right
    counts = (int((right & ~rival_right).sum()), int((rival_right & ~right).sum()))
    return Verdict(*names, accuracies, "mcnemar", reason, counts=counts, p=mcnemar(*counts))


def _pairing(a: Record, b: Record) -> tuple[bool | None, str]:
    """Return whether two runs have predictions for the same test set, and why; None if they cannot be compared.

    The same sequences, read in another way, count as data that is read differently: False.
    """
    first, second = a.predictions, b.predictions
    if untested := [str(run.path) for run in (a, b) if not run.n]:
        return None, f"{' and '.join(untested)} {'has' if len(untested) == 1 else 'have'} no test set"
    if first and second and first.fingerprint == second.fingerprint and torch.equal(first.y, second.y):
        return True, "they have the same test set"
    if a.data == b.data and a.reading != b.reading and _drawn_alike(a, b):
        return False, "they read the data differently"
    if a.fingerprint != b.fingerprint or (first and second):
        return None, "their data differ"
    missing = " and ".join(str(run.path) for run in (a, b) if run.predictions is None)
    return False, f"no stored predictions in {missing}"


def _drawn_alike(a: Record, b: Record) -> bool:
    """Return whether the test sets of two readings of the same data hold the same sequences."""
    names = DRAWN if a.reading["window"] is None else (*DRAWN, *OF_SERIES, "max_length")
    labels = [run.predictions.y for run in (a, b) if run.predictions]
    has_same_labels = all(torch.equal(labels[0], y) for y in labels[1:])
    has_same_roles = _roles(a) == _roles(b)
    if not a.columns and not b.columns and len(labels) < 2:
        has_same_roles = a.reading["label_column"] == b.reading["label_column"]
    is_same = a.n == b.n and has_same_labels and has_same_roles
    return is_same and all(a.reading[name] == b.reading[name] for name in names)


def _roles(run: Record) -> tuple[str | None, ...]:
    """Return the columns that were taken for the series, the time and the class, whether or not they were named."""
    return (run.columns.id, run.columns.time, run.columns.label) if run.columns else ()
