"""The sections about the run itself: summary, speed, settings and the command that repeats it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict

from ..config import RECIPES, DataConfig
from ..formatting import beside_accuracy, brief, per_recording, percent
from ..runs.plan import Plan
from ..runs.storage import Run
from ..training.environment import describe, describe_model
from .measurements import Material
from .section import NAME, Code, Lines, Section, Table


def summary(material: Material) -> list[str]:
    """Summarise the run in five lines."""
    run, predictions = material.run, material.predictions
    model, plan = run.model.config, run.config.plan
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    layers = f"{model.num_layers} layer{'s' if model.num_layers > 1 else ''} of {model.hidden_size} units"
    members = run.config.ensemble
    of_many = f"the mean of {members} models, each " if members > 1 else ""
    cell = model.cell if ":" in model.cell else model.cell.upper()
    lines = [
        f"Model: {of_many}{cell}, {layers}{model.additions}, read out by {model.readout}; {parameters:,} parameters."
    ]
    if plan and (history := material.history):
        seconds, train = sum(row.seconds for row in history), plan.recipe.train
        seeds = f"seeds {train.seed} to {train.seed + members - 1}" if members > 1 else f"seed {train.seed}"
        lines.append(
            f"Training: {history[-1].epoch} epochs on {plan.data}, batches of {train.batch_size}, {seeds}, "
            f"{seconds:,.1f} seconds."
        )
    else:
        lines.append("Training: by hand, so the run does not record how.")
    if predictions is not None:
        evaluation = predictions.evaluated(run.calibration)
        low, high = evaluation.interval
        lines.append(
            f"Result: accuracy {percent(evaluation.accuracy)} on {evaluation.n:,} sequences ({material.judged}), 95 % "
            f"interval {percent(low)} to {percent(high)}; cross entropy {evaluation.loss:.4f}."
        )
        if evaluation.recordings is not None:
            lines.append(f"Per recording: {per_recording(evaluation.to_dict())}.")
        lines.append(f"For comparison: {beside_accuracy(evaluation.to_dict())}.")
        if base := material.baseline:
            lines.append(f"Best baseline: {base.name}, accuracy {percent(base.accuracy)}; {base.comparison}.")
        if known := material.optimism:
            lines.append(f"{known[0].upper()}{known[1:]}.")
        lines += [f"These sequences are {line}." for line in material.warnings]
        lines.append(_hardest(material))
        if point := run.operating_point:
            lines.append(f"Operating point: it answers {point}; see below.")
    elif plan and not run.evaluation:
        lines.append("Result: accuracy –; the run was trained on all of its data, which leaves no test split.")
    if (examination := material.examination) is not None:
        findings = len(examination.findings)
        lines.append(
            ("The doctor found no problem." if examination.sequences else "The doctor had no data to examine.")
            if not findings
            else f"The doctor found {findings} problem{'s' if findings > 1 else ''}; see below."
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
    """Show the speed of training and of prediction."""
    rows = []
    if history := material.history:
        rates = sorted(row.samples_per_second for row in history)
        rows.append(("training, median epoch", f"{rates[len(rates) // 2]:,.0f} sequences/s"))
        rows.append(("training, total", f"{sum(row.seconds for row in history):,.1f} s"))
    if material.speed is not None:
        rows.append(("prediction, large batches", f"{material.speed.sequences:,.0f} sequences/s"))
        rows.append(("prediction, single sequence, median", f"{1e3 * material.speed.alone:.2f} ms"))
    if rows:
        machine = describe()
        here = f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"
        made = describe_model(material.run.model)
        trained = material.run.config.train
        in_bf16 = trained is not None and trained.precision == "bf16"
        precision = " The run was trained in bf16; it predicts in float32." if in_bf16 else ""
        yield Section(
            "Speed",
            "Training speed was measured by the run, prediction speed while this report was made. On another machine "
            "both may differ.",
            [
                Table((), rows),
                Lines([f"Prediction on: {here}; {made['device']}. Computed by {made['prediction']}.{precision}"]),
            ],
        )


def settings(run: Run) -> Iterator[Section]:
    """Show all settings, versions, and the command that repeats the training."""
    plan, parts = run.config.plan, list[Code | Table]()
    if plan is not None:
        parts.append(Code(reproduce(plan)))
    content = run.config.to_dict()
    rows = [
        (name, in_word(value)) for part in ("model", "train", "data") for name, value in content.get(part, {}).items()
    ]
    versions = [("unroll", run.config.unroll), ("torch", run.config.torch), ("python", run.config.python)]
    parts.append(Table(("setting", "value"), rows, "As in config.json.", words=2))
    parts.append(Table(("made with", "version"), versions, words=2))
    lead = "The command that repeats the training, and all settings."
    yield Section("Settings", lead if len(parts) > 2 else "All that the run records about its training.", parts)


def reproduce(plan: Plan) -> str:
    """Return the command line that trains a run again."""
    recipe, usual = plan.recipe, RECIPES[plan.recipe.name]
    flags: list[object] = ["unroll", "train", "--data", plan.data, "--recipe", plan.recipe.name]
    if plan.data_dir:
        flags += ["--data-dir", plan.data_dir]
    pairs = ((plan.reading, DataConfig()), (recipe.model, usual.model), (recipe.train, usual.train))
    for config, start in pairs:
        for name, value in asdict(config).items():
            if name == "hop" and recipe.model.frame == 1:
                continue
            if value != getattr(start, name) and value is not None:
                flags += _flag(name, value)
    return shlex.join(map(str, flags))


def _flag(name: str, value: object) -> list[object]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", value]


def in_word(value: object) -> str:
    """Return a value of a setting as a text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
