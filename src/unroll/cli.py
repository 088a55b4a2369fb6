"""The command line: parses, calls, prints. Nothing here imports torch before a command runs.

Exit status: 0 done, 1 the work failed, 2 bad input or usage, 130 Ctrl-C.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from .config import ModelConfig, Read, RecipeName, TrainConfig
from .errors import ConfigError, InputError, UnrollError
from .interrupt import immediate_interrupt


def _whole_number(_: Any, tokens: Sequence[Any]) -> int:
    """Convert strictly: cyclopts would round 1.5."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"expected a whole number, got {tokens[0].value!r}") from None


def _flags(config: type) -> Any:
    """Return a dataclass with the fields of ``config``, all None until given: the recipe says what is not given."""
    hints = get_type_hints(config)
    wanted: list[tuple[str, Any, Any]] = []
    for field in fields(config):
        kind = hints[field.name] | None
        whole = kind == int | None
        wanted.append((field.name, Annotated[kind, Parameter(converter=_whole_number)] if whole else kind, None))
    # cyclopts looks into a class's fields only if the class is of no standard module, as "types" would be.
    made = make_dataclass(f"{config.__name__}Flags", wanted, namespace={"__module__": __name__})
    made.__doc__ = config.__doc__
    return Annotated[made, Parameter(name="*", group=config.__name__.removesuffix("Config"))]


if TYPE_CHECKING:
    from typing import Any as ModelFlags
    from typing import Any as TrainFlags
else:
    ModelFlags, TrainFlags = _flags(ModelConfig), _flags(TrainConfig)

app = App(
    name="unroll",
    help="Train recurrent sequence classifiers, see how they do, and use them.",
    version=lambda: __import__("unroll").__version__,
    suppress_keyboard_interrupt=False,
)
Json = Annotated[bool, Parameter(negative="")]


@app.command
def train(
    *,
    data: str = "mnist-sample",
    data_dir: Path | None = None,
    read: Read = "rows",
    recipe: RecipeName = "fast",
    model: ModelFlags = None,
    training: TrainFlags = None,
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    resume: Path | None = None,
    json: Json = False,
) -> int:
    """Train a classifier and keep it in a run folder.

    Example: unroll train --data mnist --epochs 2 --out runs/first

    Settings that are not given come from the recipe. "fast" is made of the defaults shown. "tutorial" has torch's own
    initial weights, 10 epochs of plain Adam at a constant 0.001, no clipping, no validation part, inputs from 0 to 1.

    Parameters
    ----------
    data
        mnist-sample (always there), mnist, fashion-mnist or kmnist.
    data_dir
        Folder to look for the data in first.
    read
        How an image becomes a sequence.
    recipe
        Settings to start from.
    out
        Run folder; default runs/DATA-CELL-N.
    overwrite
        Replace the run that stands in --out.
    resume
        Finish this interrupted run; takes its settings from there.
    json
        Print one JSON object on stdout; progress goes to stderr.
    """
    with immediate_interrupt():
        from .run import resume_run, train_run
        from .terminal import Screen, TrainingScreen, command_line, print_run

    settings = {k: v for flags in (model, training) if flags for k, v in asdict(flags).items() if v is not None}
    console = Screen(stderr=json)
    with TrainingScreen(console) as screen:
        try:
            if resume is not None:
                if settings or out or overwrite or (data, read, recipe) != ("mnist-sample", "rows", "fast"):
                    raise ConfigError(f"--resume takes all settings from {resume}; give at most --data-dir with it")
                run = resume_run(resume, data_dir=data_dir, watch=screen)
            else:
                run = train_run(
                    data,
                    recipe=recipe,
                    read=read,
                    data_dir=data_dir,
                    out=out,
                    overwrite=overwrite,
                    watch=screen,
                    **settings,
                )
        except (KeyboardInterrupt, OSError, MemoryError, RuntimeError) as error:
            if screen.path is None or not _is_expected(error):
                raise
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"cannot go on: {_in_words(error)}"
            _say(f"{reason}; continue with: {command_line('train', '--resume', screen.path)}")
            return 130 if isinstance(error, KeyboardInterrupt) else 1
    if json:
        assert run.evaluation is not None
        found = {key: run.evaluation[key] for key in ("accuracy", "loss", "n", "interval", "weights")}
        _print_json({"run": str(run.path), **found})
    else:
        print_run(console, run)
    return 0


@app.command
def evaluate(run: Path, /, *, data: str | None = None, data_dir: Path | None = None, json: Json = False) -> int:
    """Count what a run gets right: accuracy, loss, scores per class, confusion matrix.

    Example: unroll evaluate runs/first

    Parameters
    ----------
    run
        Folder of a finished run.
    data
        Data set whose test part to use; default the run's own. It is prepared as the run's training data was.
    data_dir
        Folder to look for the data in first.
    json
        Print one JSON object with accuracy (a fraction), loss, n and more.
    """
    with immediate_interrupt():
        from .evaluation import evaluate as count
        from .run import load_run, load_test
        from .terminal import Screen, print_evaluation

    loaded = load_run(run)
    name, part = load_test(loaded, data, data_dir)
    evaluation = count(loaded.model, part)
    if json:
        _print_json({"run": str(run), "data": name, **evaluation.to_dict()})
    else:
        print_evaluation(Screen(), evaluation, f"{run} on the test part of {name}")
    return 0


@app.command
def predict(run: Path, files: list[Path], /, *, json: Json = False) -> int:
    """Classify image files of any size, colour and polarity.

    Example: unroll predict runs/first digit.png photo.jpg

    An image of the model's own size, or an enlargement of one, is taken as it is; any other is cropped to its ink,
    scaled and centred as the training images were.

    Parameters
    ----------
    run
        Folder of a finished run.
    files
        Image files.
    json
        Print one JSON object with class, probability, top 3 and preparation of each file, or its error.
    """
    with immediate_interrupt():
        from .prediction import predict_files
        from .run import load_run
        from .terminal import Screen, print_predictions

    loaded = load_run(run)
    predictions = predict_files(loaded.model, loaded.preparation, files)
    if json:
        _print_json({"run": str(run), "predictions": [prediction.to_dict() for prediction in predictions]})
    else:
        print_predictions(Screen(), predictions)
    failed = [prediction.error for prediction in predictions if prediction.error is not None]
    for error in failed:
        _say(error)
    return 2 if failed else 0


@app.command
def info(*, json: Json = False) -> int:
    """Show versions, devices and scan backends, and why each is used or not.

    Example: unroll info

    Parameters
    ----------
    json
        Print one JSON object.
    """
    with immediate_interrupt():
        from .machine import describe
        from .terminal import Screen, print_facts

    if json:
        _print_json(describe())
    else:
        print_facts(Screen(), describe())
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    Args:
        arguments: words after the program's name (default ``sys.argv[1:]``).
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an encoding without × or – must not end a training
            stream.reconfigure(errors="replace")
    try:
        status = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except UnusedCliTokensError as error:
        _say(f"unexpected argument: {' '.join(error.unused_tokens or [])}")
        return 2
    except CycloptsError as error:
        _say(" ".join(str(error).split()))
        return 2
    except InputError as error:
        _say(str(error))
        return 2
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UnrollError, OSError, MemoryError, RuntimeError) as error:
        if not _is_expected(error):
            raise
        _say(_in_words(error))
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    return int(status or 0)


def _is_expected(error: BaseException) -> bool:
    """Tell what can happen to anybody from what is a bug and deserves its traceback."""
    return not isinstance(error, RuntimeError) or _is_out_of_memory(error)


def _is_out_of_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError on a GPU; on the CPU a bare RuntimeError of its allocator
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _in_words(error: BaseException) -> str:
    if _is_out_of_memory(error):
        return "out of memory; try a smaller --batch-size or --hidden-size"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _say(line: str) -> None:
    print(f"unroll: {line}", file=sys.stderr)


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps(content, allow_nan=False))
