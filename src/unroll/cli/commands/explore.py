"""The command explore."""

from __future__ import annotations

from pathlib import Path

from ...config import DataConfig
from ...interrupt import immediate_interrupt
from ..app import DataFlags, Json, app, given
from ..outcome import print_json


@app.command
def explore(
    data: str = "mnist-sample",
    *,
    data_dir: Path | None = None,
    reading: DataFlags = None,
    out: Path | None = None,
    json: Json = False,
) -> int:
    """Describe a data set: counts, shapes, values, duplicates, a preview, and pictures in a folder.

    Example: unroll explore mnist

    Parameters
    ----------
    data
        mnist-sample, mnist, fashion-mnist, kmnist; ucr:NAME, a set of the UCR and UEA archive; hf:OWNER/NAME, a set of
        the Hugging Face Hub, or hf:FOLDER; a folder of images with a sub-folder for each class; series in a .ts, .arff,
        .csv, .tsv, .txt, .parquet, .arrow or .feather file, in an .npz file with x (N, time, features) and y, or in a
        folder of CSV files with one recording each; texts in a table or JSON with a column for
        them, in lines with their class, or in a folder with a sub-folder for each class.
    data_dir
        Folder to search first for the data.
    out
        Folder for the pictures, new or empty; default explored/DATA-N.
    json
        Print one JSON object.
    """
    settings = given(reading)
    DataConfig(**settings)  # raises before torch is loaded, which takes seconds
    with immediate_interrupt():
        from ...data.catalog import load, resolve
        from ...data.describe import describe_data
        from ...plots import figures, png
        from ...runs.folder import fresh, refuse_inside, refuse_used, write
        from ..views.data import print_description
        from ..views.terminal import Screen, show_reading

    refuse_used(out)
    refuse_inside(out or "explored", resolve(data, data_dir))
    with show_reading(data):
        splits = load(data, data_dir=data_dir, **settings)
    description = describe_data(splits)
    drawn = {name: png(figure) for name, figure in figures(splits).items()}
    folder = fresh(out, "explored", splits.name)
    pictures = [folder / f"{name}.png" for name in drawn]
    for picture, content in zip(pictures, drawn.values(), strict=True):
        write(picture, content)
    if json:
        print_json({**description.to_dict(), "pictures": [str(picture) for picture in pictures]})
    else:
        print_description(Screen(), description, splits.train, pictures)
    return 0
