"""What a finished run is good for: evaluate, predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..interrupt import immediate_interrupt
from .app import Json, app, import_user_cell
from .outcome import print_json, say


@app.command
def evaluate(
    run: Path,
    /,
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    cell: str | None = None,
    anytime: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Count what a run gets right: accuracy, loss, scores per class, confusion matrix.

    Example: unroll evaluate runs/first

    Parameters
    ----------
    run
        Folder of a finished run.
    data
        Data set whose test part to use, all of it if it has none; default the run's own. It is prepared as the run's
        training data was.
    data_dir
        Folder to look for the data in first.
    cell
        module:Class of a cell of your own that the run was trained with; it is imported.
    anytime
        Show too what the run knows when it has read a part of each sequence, and what comes of stopping once it is
        sure.
    json
        Print one JSON object with accuracy (a fraction), loss, n and more.
    """
    with immediate_interrupt():
        from ..evaluation.anytime import evaluate_anytime
        from ..evaluation.metrics import evaluate as count
        from ..printing import print_anytime, print_evaluation
        from ..runs.storage import load_run, load_test
        from ..terminal import Screen

    import_user_cell(cell)
    loaded = load_run(run)
    name, part, sequences, trained_on = load_test(loaded, data, data_dir)
    evaluation = count(loaded.model, sequences)
    early = evaluate_anytime(loaded.model, sequences, loaded.calibration) if anytime else None
    if json:
        found = {"run": str(run), "data": name, "part": part, "trained_on": trained_on, **evaluation.to_dict()}
        print_json(found | ({"anytime": early.to_dict()} if early else {}))
    else:
        console = Screen()
        where = f"all of {name}" if part == "all" else f"the test part of {name}"
        print_evaluation(console, evaluation, f"{run} on {where}")
        if early:
            print_anytime(console, early)
    if loaded.config.get("train", {}).get("precision") == "bf16":
        say("the run was trained in bf16; it is evaluated in float32")
    if trained_on:
        say(f"the run was trained on {trained_on:,} of these {len(sequences):,} sequences: the accuracy flatters")
    return 0


@app.command
def predict(
    run: Path,
    files: list[Path] | None = None,
    /,
    *,
    text: list[str] | None = None,
    stop_at: float | None = None,
    cell: str | None = None,
    json: Json = False,
) -> int:
    """Classify image files of any size and colour, each series in a file, or texts.

    Example: unroll predict runs/first digit.png photo.jpg

    Example: unroll predict runs/films --text "a fine film"

    Trained on MNIST or its kin: an image of the model's own size, or a bicubic enlargement of one, is taken as it is;
    any other is cropped to its ink, scaled and centred as the training images were, in either polarity. Trained on a
    folder of images: it is resized as a whole. Trained on series: a .ts, .csv, .tsv or .npz file holds any number of
    them; they are scaled and filled in as the training data was, and classes that stand there are left alone. Trained
    on texts: give them with --text, or one a line from standard input; or a file, a table or JSON with a column for
    them, else a text in each line.

    Parameters
    ----------
    run
        Folder of a finished run.
    files
        Image files, files of series or texts, or pipes of such, up to 1 GB: what the run was trained on.
    text
        A text to classify; may be given several times.
    stop_at
        Read each only until the run's confidence passes this, 0.95 for instance, and say how many steps that took. The
        confidence is calibrated on what the run held out of its training data, for shares of a sequence's length.
    cell
        module:Class of a cell of your own that the run was trained with; it is imported.
    json
        Print one JSON object with class, probability, top 3 and preparation of each image, series or text, or the
        file's error.
    """
    with immediate_interrupt():
        from ..data.streams import read_stream
        from ..data.text_file import text_lines
        from ..errors import InputError
        from ..evaluation.predict_files import Sure, predict_files, predict_texts
        from ..printing import print_predictions
        from ..runs.storage import load_run
        from ..terminal import Screen

    import_user_cell(cell)
    loaded = load_run(run)
    texts, places = text or [], list[str]()
    if not files and not text:
        content = b"" if sys.stdin.isatty() else read_stream(sys.stdin.buffer, "standard input")
        texts, places = text_lines(content, "standard input")
        if not texts:
            raise InputError(
                f"{run} has nothing to classify: name files, give --text, or send texts to standard input, one a line"
            )
    sure = None if stop_at is None else Sure(stop_at, loaded.calibration)
    predictions = predict_files(loaded.model, loaded.preparation, files or [], sure)
    if texts:
        predictions += predict_texts(loaded.model, loaded.preparation, texts, places, sure=sure)
    if sure and sure.calibration is None:
        say(f"{run} keeps no calibration of its confidence: it is taken as it comes, and may be too high")
    if json:
        print_json({"run": str(run), "predictions": [prediction.to_dict() for prediction in predictions]})
    else:
        print_predictions(Screen(), predictions)
    failed = [prediction.error for prediction in predictions if prediction.error is not None]
    for error in failed:
        say(error)
    return 2 if failed else 0
