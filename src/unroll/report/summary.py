"""What was done, on what, how fast, and how to do it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict

from ..config import RECIPES, DataConfig
from ..formatting import beside_accuracy, brief, percent
from ..runs.plan import Plan
from ..runs.storage import Run
from ..training.environment import describe, describe_model
from .measurements import Material
from .section import NAME, Code, Lines, Section, Table


def summary(material: Material, findings: int | None = None) -> list[str]:
    """Return the run in five lines."""
    run, predictions = material.run, material.predictions
    model, plan = run.model.config, run.config.plan
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    layers = f"{model.num_layers} layer{'s' if model.num_layers > 1 else ''} of {model.hidden_size} units"
    lines = [
        f"Model: {model.cell.upper() if ':' not in model.cell else model.cell}, {layers}{model.additions}, read out by "
        f"{model.readout}; {parameters:,} parameters."
    ]
    if plan and (history := material.history):
        seconds, train = sum(row.seconds for row in history), plan.recipe.train
        lines.append(
            f"Training: {len(history)} epochs on {plan.data}, batches of {train.batch_size}, seed {train.seed}, "
            f"{seconds:,.1f} seconds."
        )
    else:
        lines.append("Training: by hand; the run does not say how.")
    if predictions is not None:
        evaluation = predictions.evaluation
        low, high = evaluation.interval
        lines.append(
            f"Result: {percent(evaluation.accuracy)} of {evaluation.n:,} sequences right ({material.judged}), 95 % "
            f"interval {percent(low)} to {percent(high)}; cross entropy {evaluation.loss:.4f}."
        )
        lines.append(f"Beside it: {beside_accuracy(evaluation.to_dict())}.")
        if seen := material.trained_on:
            n = evaluation.n
            lines.append(f"Beware: it was trained on {seen:,} of these {n:,} sequences; the accuracy flatters.")
        lines.append(_hardest(material))
    if findings is not None:
        lines.append(
            ("The doctor has no finding." if material.examination.sequences else "The doctor could look at little.")
            if not findings
            else f"The doctor has {findings} finding{'s' if findings > 1 else ''}; see below."
        )
    return lines


def _hardest(material: Material) -> str:
    assert material.predictions is not None
    evaluation = material.predictions.evaluation
    scores = [score for score in evaluation.per_class if score.support]
    hardest = min(scores, key=lambda score: score.f1 or 0.0)
    wrong = evaluation.n - evaluation.correct
    return (
        f"Mistakes: {wrong:,}; the hardest class is {brief(hardest.name, NAME)}, with F1 {percent(hardest.f1)}."
        if wrong
        else "Mistakes: none."
    )


def speed(material: Material) -> Iterator[Section]:
    """Show how fast it was trained and answers."""
    rows = []
    if history := material.history:
        rates = sorted(row.samples_per_second for row in history)
        rows.append(("training, median epoch", f"{rates[len(rates) // 2]:,.0f} sequences/s"))
        rows.append(("training in all", f"{sum(row.seconds for row in history):,.1f} s"))
    if material.speed is not None:
        rows.append(("answers, many at a time", f"{material.speed.sequences:,.0f} sequences/s"))
        rows.append(("one answer by itself, median", f"{1e3 * material.speed.alone:.2f} ms"))
    if rows:
        machine = describe()
        here = f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"
        made = describe_model(material.run.model)
        trained = material.run.config.train
        in_bf16 = trained is not None and trained.precision == "bf16"
        precision = " The run was trained in bf16; it answers in float32." if in_bf16 else ""
        yield Section(
            "Speed",
            "Training as the run measured it, answers as measured while this report was made; neither says anything "
            "of another machine.",
            [
                Table((), rows),
                Lines([f"Answers on: {here}; {made['device']}. Computed by {made['prediction']}.{precision}"]),
            ],
        )


def settings(run: Run) -> Iterator[Section]:
    """Show all settings, versions, and the command that does it again."""
    plan, parts = run.config.plan, list[Code | Table]()
    if plan is not None:
        parts.append(Code(reproduce(plan)))
    content = run.config.to_dict()
    rows = [
        (name, _word(value)) for part in ("model", "train", "data") for name, value in content.get(part, {}).items()
    ]
    versions = [("unroll", run.config.unroll), ("torch", run.config.torch), ("python", run.config.python)]
    parts.append(Table(("setting", "value"), rows, "As config.json has them.", words=2))
    parts.append(Table(("made with", "version"), versions, words=2))
    lead = "The command that does it again, and all settings."
    yield Section("Settings", lead if len(parts) > 2 else "All that the run says of how it was made.", parts)


def reproduce(plan: Plan) -> str:
    """Return the command line that trains a run again."""
    recipe, usual = plan.recipe, RECIPES[plan.recipe.name]
    flags: list[object] = ["unroll", "train", "--data", plan.data]
    if plan.data_dir:
        flags += ["--data-dir", plan.data_dir]
    if recipe.name != "fast":
        flags += ["--recipe", recipe.name]
    pairs = ((plan.reading, DataConfig()), (recipe.model, usual.model), (recipe.train, usual.train))
    for config, start in pairs:
        for name, value in asdict(config).items():
            if value != getattr(start, name) and value is not None:
                flags += _flag(name, value)
    return shlex.join(map(str, flags))


def _flag(name: str, value: object) -> list[object]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", value]


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
