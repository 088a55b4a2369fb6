"""Fixtures. Tests are offline, see an empty cache folder, and find only the embedded sample by themselves.

What takes long to import is imported where it is used: the process that hands out the tests to others needs none of it.
"""

from __future__ import annotations

import base64
import copy
import fcntl
import gc
import gzip
import io
import logging
import os
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import unroll
from unroll.cli import main

if TYPE_CHECKING:
    import numpy as np

UNROLL_DATA = os.environ.get("UNROLL_DATA")

# A shell's background job ignores Ctrl-C, and so would the processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests are tiny; threads that wait for each other would make them slow wherever another program runs.
os.environ["OMP_NUM_THREADS"] = "1"

# No test cuts the power; to wait for the disk takes as long as many a training here.
os.fsync = lambda descriptor: None

# A third of the time that it takes to import everything; what is there then stays, and need not be looked through.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage again, but none of what was imported."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives a browser."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture(scope="session", autouse=True)
def _offline() -> None:
    """Nothing listens on port 9. One thread, and no seeds for a GPU that is not there."""
    import torch

    from unroll.data.formats import mnist, ucr_archive

    torch.set_num_threads(1)
    if not torch.accelerator.is_available():
        # It notes for each kind of GPU from where it is called, which is a fifth of the time of what begins a training.
        torch.manual_seed = torch.default_generator.manual_seed
    for name, source in mnist.SOURCES.items():
        mnist.SOURCES[name] = replace(source, mirrors=("http://127.0.0.1:9/",))
    ucr_archive.ADDRESS = "http://127.0.0.1:9/{}.zip"


@pytest.fixture(scope="session", autouse=True)
def _signatures_read_once() -> None:
    """The flags of a command are made out once, which takes longer than most of what a command does here."""
    from cyclopts import App

    assemble, known = App.assemble_argument_collection, dict[Any, Any]()

    def remembered(app: App, **options: Any) -> Any:
        key = id(app), repr(options)
        if key not in known:
            known[key] = app, assemble(app, **options)  # the app is kept, so that no other has its id
        flags = known[key][1]
        copies = {id(flag): copy.copy(flag) for flag in flags}
        for flag in copies.values():
            flag.tokens = []
            flag.children = type(flags)(copies[id(child)] for child in flag.children)
        return type(flags)(copies.values())

    App.assemble_argument_collection = remembered  # type: ignore[method-assign]


class Rooms:
    """Folders to work in, one after the other: a test that has written nothing leaves its own to the next.

    To make and remove one takes longer than most tests.
    """

    def __init__(self, parent: Path) -> None:
        self.parent, self.number = parent, 0
        self.enter()

    def enter(self) -> None:
        """Make a new room and go there."""
        self.room = self.parent / str(self.number)
        self.work = self.room / "work"
        self.work.mkdir(parents=True)
        os.chdir(self.work)

    def leave(self, keep: bool) -> None:
        """Leave what a test has written, and remove it unless it is to be kept."""
        if os.listdir(self.room) == ["work"] and not os.listdir(self.work):
            os.chdir(self.work)
            return
        used = self.room
        self.number += 1
        self.enter()
        if not keep:
            shutil.rmtree(used, ignore_errors=True)


@pytest.fixture(scope="session")
def _rooms(tmp_path_factory: pytest.TempPathFactory) -> Rooms:
    return Rooms(tmp_path_factory.mktemp("rooms"))


@pytest.fixture
def _room(_rooms: Rooms, request: pytest.FixtureRequest) -> Iterator[Path]:
    failed = request.session.testsfailed
    yield _rooms.room
    _rooms.leave(keep=request.session.testsfailed > failed)


@pytest.fixture(autouse=True)
def _alone(_room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own cache and working folder, and a seed."""
    import torch

    monkeypatch.delenv("UNROLL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(_room / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def sample() -> unroll.Splits:
    return unroll.load("mnist-sample")


@pytest.fixture(scope="session")
def small(sample: unroll.Splits) -> unroll.Splits:
    """400 digits to train on and 100 to test, all classes alike."""
    import torch

    train = sample.train.subset(torch.arange(0, 4000, 10))
    return replace(sample, train=train, test=sample.test.subset(torch.arange(0, 1000, 10)))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> unroll.Run:
    """What ``unroll train`` makes of the embedded sample with all defaults.

    The first of the processes that share the work trains it, and each has a copy of its own to write into.
    """
    own = tmp_path_factory.getbasetemp()
    common = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    first = common / "trained" / "default"
    with (common / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not first.exists():
            unroll.train_run(out=common / "training" / "default")
            (common / "training").rename(common / "trained")
    return unroll.load_run(shutil.copytree(first, own / "runs" / "default"))


@pytest.fixture(scope="session")
def digits(run: unroll.Run) -> Any:
    """That run, to be served."""
    from unroll.server import Served

    return Served("digits", run, "<p>the page</p>")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command: ``status, out, err = call("train", "--no-report", "--epochs", 1)``."""

    def run_command(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run_command


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged. The plugin of pytest that has a fixture for it takes time for every test."""
    handler = logging.StreamHandler(io.StringIO())
    logging.getLogger().addHandler(handler)
    yield handler.stream
    logging.getLogger().removeHandler(handler)


# A picture of one pixel.
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP6DwABBQECz6AuzQAAAABJRU5ErkJggg==")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, which takes seconds for a report: for tests of what else is in it."""
    from unroll.plots import style

    def saved(figure: Any, **options: Any) -> bytes:
        return b'<svg width="1" height="1"></svg>' if options["format"] == "svg" else PNG

    monkeypatch.setattr(style, "_saved", saved)


@pytest.fixture
def mnist_dir() -> Path:
    """The folder of the full MNIST."""
    if not UNROLL_DATA or not (Path(UNROLL_DATA) / "mnist").is_dir():
        pytest.skip("needs the full MNIST in $UNROLL_DATA/mnist")
    return Path(UNROLL_DATA).resolve() / "mnist"


def idx_bytes(array: np.ndarray) -> bytes:
    """Return the idx file of an array of bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write the four files of a small set in MNIST's format: ``idx_folder(train=50, test=20, zipped=True)``."""
    import numpy as np

    def write(train: int = 50, test: int = 20, zipped: bool = False, folder: Path | None = None) -> Path:
        folder = folder or tmp_path / "idx"
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(0)
        for part, count in (("train", train), ("t10k", test)):
            images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            labels = (np.arange(count) % 10).astype(np.uint8)
            for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
                content = idx_bytes(array)
                path = folder / (f"{name}.gz" if zipped else name)
                path.write_bytes(gzip.compress(content) if zipped else content)
        return folder

    return write
