"""The command predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...config import DataConfig, LinesName
from ...errors import ConfigError
from ...interrupt import immediate_interrupt
from ...validation import check_run
from ..app import Json, TableFlags, app, given, import_user_cell, refuse_options
from ..outcome import print_json, say


@app.command
def predict(
    run: Path,
    files: Annotated[list[Path] | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    text: list[str] | None = None,
    with_: Annotated[list[Path] | None, Parameter(name="--with", negative="")] = None,
    out: Path | None = None,
    windows: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    stop_at: float | None = None,
    reading: TableFlags = None,
    lines: LinesName | None = None,
    text_column: str | None = None,
    cell: str | None = None,
    json: Json = False,
) -> int:
    """Classify image files of any size and colour, each series in a file, or texts.

    Example: unroll predict runs/first digit.png photo.jpg

    Example: unroll predict runs/films --text "a fine film"

    Example: unroll predict runs/stays new.csv --with runs/stays-2 --out answers.csv

    For a run trained on MNIST or a similar set, an image of the model's own size, or a bicubic enlargement of one, is
    taken as it is; any other is cropped to its ink, scaled and centred as the training images were, in either polarity.
    For a run trained on a folder of images, images are resized as a whole. For a run trained on series, a .ts, .arff,
    .csv, .tsv, .txt, .npz, .parquet, .arrow or .feather file holds any number of them, and a CSV file with a column for
    each of the run's features, but without an id, is a single series; they are scaled and filled in as the training
    data was, and classes in the file are ignored. For a run trained on texts, give texts with --text, one per line on
    standard input, or in a file: a table or JSON with a column for them, else one text per line.

    Probabilities are calibrated on the run's validation split, for the fraction of the sequence that was read; without
    a validation split they are the model's own, which are often too high. If the run keeps an operating point (unroll
    evaluate --keep), the class is the one that it decides on, or "unsure": in JSON class null and unsure true.

    A file that is unlike the training data gets a line on stderr: other units, another length or time step, mostly
    unknown tokens, constant input.

    Parameters
    ----------
    run
        Folder of a finished run.
    files
        Files, folders or pipes of the kind that the run was trained on: images, series or texts. Of a folder all such
        files are read, at any depth, in the order of their paths. A pipe may bring up to 1 GB; - is standard input.
    text
        A text to classify; may be repeated.
    with_
        Folder of another run with the same classes: the answer is the mean of the calibrated probabilities of all runs,
        each of which prepares the data in its own way; may be repeated.
    out
        File for the answers, .csv, .jsonl or .parquet: a row for each sequence in the order of the input, with file,
        row (from 0, as pandas counts), line, id, class, probability, error, and p(NAME) for each class.
    windows
        Write to --out a row for each window of a run that was trained with --window, with the time step at which it
        starts, in place of a row for each recording, which is the mean of its windows.
    overwrite
        Replace the file at --out.
    stop_at
        Stop reading once the confidence reaches this threshold, for example 0.95, and show the number of steps read;
        not for a run that keeps a threshold for one of two classes.
    lines
        Position of the class in a line of text, to be ignored: label-first, label-last, or tab. Default: a line is all
        text.
    text_column
        Column of a table, or field of JSON, with the texts; default the one that the run was trained on.
    cell
        module:Class of your own cell, if the run was trained with one; it is imported.
    json
        Print one JSON object: whether probabilities are calibrated, warnings of files unlike the training data, and for
        each image, series or text its file, row, line and id, its class, the probabilities of all classes, the top 3
        and its preparation, the answers for its windows if the run cuts it into such, or the error.
    """
    refuse_options(files or [], "predict")
    if overwrite and out is None:
        raise ConfigError("--overwrite is for the file at --out: name one")
    if windows and (out is None or with_):
        raise ConfigError("--windows is for the file at --out, without --with; --json has the windows too")
    config = DataConfig(**given(reading), lines=lines, text_column=text_column)
    folders = [run, *(with_ or [])]
    check_run(*folders)
    with immediate_interrupt():
        from ...data.formats.text_file import text_lines
        from ...data.records import Records
        from ...data.sources import sources
        from ...data.streams import read_stream
        from ...errors import InputError
        from ...evaluation.predict_files import each_window
        from ...runs.answers import check_answers, check_apart, write_answers
        from ...runs.predicted import check_alike
        from ...runs.predicted import predict as predict_by
        from ...runs.storage import load_run
        from ..views.evaluation import print_predictions
        from ..views.terminal import Screen, print_facts

    if out is not None:
        check_answers(out, overwrite)
    import_user_cell(cell)
    runs = [load_run(path) for path in folders]
    loaded, kind = runs[0], runs[0].preparation.kind
    check_alike(runs)
    point = loaded.operating_point if len(runs) == 1 else None
    rule = loaded.preparation.time_steps
    if windows and (rule is None or rule.window is None):
        raise ConfigError(f"--windows is for runs trained with --window: {run} reads whole sequences")
    if stop_at is not None:
        loaded.single("--stop-at")
        if point is not None and point.positive is not None:
            raise ConfigError(
                f"--stop-at reads until the most probable class is sure, but {run} answers {point}: leave --stop-at "
                "out, or drop that with unroll evaluate --drop"
            )
    texts, records, texts_from = text or [], None, "--text"
    if not files and not text:
        if kind != "texts":
            raise InputError(f"{run} has nothing to classify: it reads {kind}, so name files of such, or - for a pipe")
        content = b"" if sys.stdin.isatty() else read_stream(sys.stdin.buffer, "standard input")
        texts_from = "standard input"
        texts, numbers = text_lines(content, texts_from)
        records = Records(range(len(texts)), numbers, named_by="line")
        if not texts:
            raise InputError(
                f"{run} has nothing to classify: name files, give --text, or send texts to standard input, one per line"
            )
    with sources(files or [], kind, getattr(sys.stdin, "buffer", None)) as (each, notes):
        if out is not None:
            check_apart(out, files or [], each, kind)
        predicted = predict_by(runs, each, texts, records, texts_from, config, stop_at)
    predictions = each_window(predicted.predictions) if windows else predicted.predictions
    if out is not None:
        write_answers(out, predictions, predicted.classes)
    if stop_at is not None and loaded.calibration is None:
        say(f"{run} has no calibration, so the confidence may be too high; train with a validation split to get one")
    if point is not None:
        say(f"the answers follow the operating point of {run}: {point}")
    calibrated = all(each.calibration is not None for each in runs)
    failed = [prediction.error for prediction in predictions if prediction.error is not None]
    if json:
        about = {
            "run": str(run),
            "with": list(map(str, folders[1:])),
            "calibrated": calibrated,
            "operating_point": point and point.to_dict(),
            "out": out and str(out),
        }
        answers = [prediction.to_dict(predicted.classes) for prediction in predictions]
        print_json(about | {"warnings": predicted.warnings, "predictions": answers})
    elif out is not None:
        errors = f", {len(failed):,} of them errors" if failed else ""
        print_facts(Screen(), {"answers": f"{out} ({len(predictions):,} rows{errors})"})
    else:
        print_predictions(Screen(), predictions, calibrated)
    for line in (*notes, *predicted.warnings, *failed):
        say(line)
    return 2 if failed else 0
