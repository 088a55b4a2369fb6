"""The command predict."""

from __future__ import annotations

import sys
from pathlib import Path

from ...config import DataConfig, LinesName
from ...errors import ConfigError
from ...interrupt import immediate_interrupt
from ...validation import check_run
from ..app import Json, TableFlags, app, given, import_user_cell
from ..outcome import print_json, say


@app.command
def predict(
    run: Path,
    files: list[Path] | None = None,
    /,
    *,
    text: list[str] | None = None,
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

    For a run trained on MNIST or a similar set, an image of the model's own size, or a bicubic enlargement of one, is
    taken as it is; any other is cropped to its ink, scaled and centred as the training images were, in either polarity.
    For a run trained on a folder of images, images are resized as a whole. For a run trained on series, a .ts, .arff,
    .csv, .tsv, .txt or .npz file holds any number of them, and a table with a column for each of the run's features,
    but without an id, is a single series; they are scaled and filled in as the training data was, and classes in the
    file are ignored. For a run trained on texts, give texts with --text, one per line on standard input, or in a file:
    a table or JSON with a column for them, else one text per line.

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
        Files or pipes of the kind that the run was trained on: images, series or texts. A pipe may bring up to 1 GB.
    text
        A text to classify; may be repeated.
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
        each image, series or text its class, probability, top 3 classes and preparation, or the error.
    """
    config = DataConfig(**given(reading), lines=lines, text_column=text_column)
    check_run(run)
    with immediate_interrupt():
        from ...data.formats.text_file import text_lines
        from ...data.streams import read_stream
        from ...errors import InputError
        from ...evaluation.predict_files import Sure, predict_files, predict_texts
        from ...runs.storage import load_run
        from ..views.evaluation import print_predictions
        from ..views.terminal import Screen

    import_user_cell(cell)
    loaded = load_run(run)
    point = loaded.operating_point
    if stop_at is not None:
        loaded.single("--stop-at")
        if point is not None and point.positive is not None:
            raise ConfigError(
                f"--stop-at reads until the most probable class is sure, but {run} answers {point}: leave --stop-at "
                "out, or drop that with unroll evaluate --drop"
            )
    texts, places = text or [], list[str]()
    if not files and not text:
        content = b"" if sys.stdin.isatty() else read_stream(sys.stdin.buffer, "standard input")
        texts, places = text_lines(content, "standard input")
        if not texts:
            raise InputError(
                f"{run} has nothing to classify: name files, give --text, or send texts to standard input, one per line"
            )
    sure = Sure(loaded.calibration, stop_at, point)
    own = loaded.config.plan.reading if loaded.config.plan else None
    predictions = predict_files(loaded.model, loaded.preparation, files or [], sure, config, own)
    if texts:
        predictions += predict_texts(loaded.model, loaded.preparation, texts, places, sure=sure)
    if stop_at is not None and loaded.calibration is None:
        say(f"{run} has no calibration, so the confidence may be too high; train with a validation split to get one")
    warnings = list(dict.fromkeys(f"{each.file}: {each.unusual}" for each in predictions if each.unusual))
    if json:
        about = {"run": str(run), "calibrated": loaded.calibration is not None, "warnings": warnings}
        about["operating_point"] = point and point.to_dict()
        print_json(about | {"predictions": [prediction.to_dict() for prediction in predictions]})
    else:
        print_predictions(Screen(), predictions, calibrated=loaded.calibration is not None)
    if point is not None:
        say(f"the answers follow the operating point of {run}: {point}")
    for line in warnings:
        say(line)
    failed = [prediction.error for prediction in predictions if prediction.error is not None]
    for error in failed:
        say(error)
    return 2 if failed else 0
