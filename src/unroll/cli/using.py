"""What a finished run is good for: evaluate, predict."""

from __future__ import annotations

from pathlib import Path

from ..interrupt import immediate_interrupt
from .app import Json, app, trust
from .outcome import print_json, say


@app.command
def evaluate(
    run: Path,
    /,
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    cell: str | None = None,
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
    json
        Print one JSON object with accuracy (a fraction), loss, n and more.
    """
    with immediate_interrupt():
        from ..evaluation import evaluate as count
        from ..reports import print_evaluation
        from ..saved import load_run, load_test
        from ..terminal import Screen

    trust(cell)
    loaded = load_run(run)
    name, part, sequences, trained_on = load_test(loaded, data, data_dir)
    evaluation = count(loaded.model, sequences)
    if json:
        found = {"run": str(run), "data": name, "part": part, "trained_on": trained_on}
        print_json({**found, **evaluation.to_dict()})
    else:
        where = f"all of {name}" if part == "all" else f"the test part of {name}"
        print_evaluation(Screen(), evaluation, f"{run} on {where}")
    if trained_on:
        say(f"the run was trained on {trained_on:,} of these {len(sequences):,} sequences: the accuracy flatters")
    return 0


@app.command
def predict(run: Path, files: list[Path], /, *, cell: str | None = None, json: Json = False) -> int:
    """Classify image files of any size and colour, or each series in a file.

    Example: unroll predict runs/first digit.png photo.jpg

    Trained on MNIST or its kin: an image of the model's own size, or an enlargement of one, is taken as it is; any
    other is cropped to its ink, scaled and centred as the training images were, in either polarity. Trained on a
    folder of images: it is resized as a whole. Trained on series: a .ts, .csv, .tsv or .npz file holds any number of
    them; they are scaled and filled in as the training data was, and classes that stand there are left alone.

    Parameters
    ----------
    run
        Folder of a finished run.
    files
        Image files, or files of series: what the run was trained on.
    cell
        module:Class of a cell of your own that the run was trained with; it is imported.
    json
        Print one JSON object with class, probability, top 3 and preparation of each image or series, or the file's
        error.
    """
    with immediate_interrupt():
        from ..prediction import predict_files
        from ..reports import print_predictions
        from ..saved import load_run
        from ..terminal import Screen

    trust(cell)
    loaded = load_run(run)
    predictions = predict_files(loaded.model, loaded.preparation, files)
    if json:
        print_json({"run": str(run), "predictions": [prediction.to_dict() for prediction in predictions]})
    else:
        print_predictions(Screen(), predictions)
    failed = [prediction.error for prediction in predictions if prediction.error is not None]
    for error in failed:
        say(error)
    return 2 if failed else 0
