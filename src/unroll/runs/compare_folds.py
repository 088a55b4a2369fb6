"""Compare two cross-validations with the same folds, fold by fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ..errors import RunError
from ..evaluation.significance import resampled_t
from .compare import Verdict
from .crossval import NAMED_BY, CrossValidation, read_cross_validation


@dataclass(frozen=True)
class FoldComparison:
    """The result of `compare_cross_validations`.

    Attributes:
        validations: the better one first
        verdict: whether it is better: the corrected resampled t-test
    """

    validations: tuple[CrossValidation, CrossValidation]
    verdict: Verdict

    @property
    def numbers(self) -> range:
        """Numbers of the folds."""
        return range(1, len(self.validations[0].results) + 1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; accuracies are fractions."""
        return {
            "crossvals": [validation.to_dict() for validation in self.validations],
            "verdict": self.verdict.to_dict(),
        }


def compare_cross_validations(paths: Sequence[str | Path]) -> FoldComparison:
    """Compare two finished cross-validations with the same folds.

    Args:
        paths: their two folders.

    Raises:
        RunError: there are not two, one is not finished, or their folds differ.

    Source: the test is that of `unroll.evaluation.significance.resampled_t`.
    """
    if len(paths) != 2:
        raise RunError(f"compare needs two cross-validations, got {len(paths)}: give two of them, or runs")
    first, second = (read_cross_validation(path) for path in paths)
    if first.path.resolve() == second.path.resolve():
        raise RunError(f"{first.path} is given twice: name another")
    differing = _held_out(first) != _held_out(second) or first.data != second.data
    if differing:
        raise RunError(
            f"{first.path} and {second.path} have different folds: compare those of the same data with the same "
            "--folds, --repeats and --split-seed"
        )
    best, rival = sorted((first, second), key=lambda validation: -(validation.mean() or 0.0))
    gains = [a - b for a, b in zip(best.values("accuracy"), rival.values("accuracy"), strict=True)]
    ratio = fmean(result.n / result.trained_on for result in best.results)
    tested, accuracies = resampled_t(gains, ratio), (best.mean(), rival.mean())
    names = str(best.path), str(rival.path)
    if tested is None:
        verdict = Verdict(*names, accuracies, None, "the difference is the same in all folds")
    else:
        p, interval = tested
        reason = f"corrected resampled t-test over {len(gains)} folds"
        verdict = Verdict(*names, accuracies, "resampled", reason, difference=interval, p=p, corrected=p)
    return FoldComparison((best, rival), verdict)


def _held_out(validation: CrossValidation) -> list[tuple[str | None, ...]]:
    """Return which sequence is held out in which fold."""
    names = ("row", *NAMED_BY, "start", "repeat", "fold", "true")
    return [tuple(row.get(name) for name in names) for row in validation.out_of_fold().rows]
