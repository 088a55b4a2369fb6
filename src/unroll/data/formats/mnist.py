"""MNIST and the two sets made in its image: Fashion-MNIST and Kuzushiji-MNIST; and the sample that is always there."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ...config import DataConfig, Read
from ...config.data import OF_SERIES
from ...errors import ConfigError, DataError, DownloadError
from ...formatting import shown
from ..cuts import stratified_cut
from ..preparation import Framing, ImageFormat, Preparation, Scaling
from ..sequences import SequenceData
from ..splits import OF_TEXTS, Splits
from .download import cache_folder, fetch, writing
from .idx import read_bytes, read_idx

DIGITS = tuple("0123456789")
GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
SIZE = 28  # pixels, both ways
SAMPLE = Path(__file__).with_name("mnist_sample.npz")


@dataclass(frozen=True)
class Source:
    """Where a set of four idx files comes from and how it is to be read.

    Attributes:
        classes: names, by label
        mirrors: addresses of folders with the gzipped files
        sha256: of each file
        hashed: what the sums are of; MNIST's mirrors wrap the same content differently, so its sums are of the content
        box, centre: how the images were framed, for `Framing`
        credit: whose it is, and its licence: a sentence for pages that show some of it
    """

    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    sha256: dict[str, str]
    hashed: Literal["unpacked", "gzipped"]
    box: int
    centre: Literal["mass", "box"]
    credit: str


FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

# Sums of Fashion-MNIST and KMNIST: TensorFlow Datasets, url_checksums/.
SOURCES = {
    "mnist": Source(
        classes=DIGITS,
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        sha256={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        hashed="unpacked",
        box=20,
        centre="mass",
        credit="The digits are from MNIST by Y. LeCun, C. Cortes and C. J. C. Burges, CC BY-SA 3.0.",
    ),
    "fashion-mnist": Source(
        classes=GARMENTS,
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        sha256={
            "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        hashed="gzipped",
        box=28,
        centre="box",
        credit="The pictures are from Fashion-MNIST by Zalando SE, MIT licence.",
    ),
    "kmnist": Source(
        classes=HIRAGANA,
        mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
        sha256={
            "train-images-idx3-ubyte": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "train-labels-idx1-ubyte": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "t10k-images-idx3-ubyte": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "t10k-labels-idx1-ubyte": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        },
        hashed="gzipped",
        box=28,
        centre="box",
        credit="The characters are from the KMNIST Dataset (created by CODH), adapted from the Kuzushiji Dataset "
        "(created by NIJL and others), doi:10.20676/00000341, CC BY-SA 4.0.",
    ),
}


def read(name: str, data_dir: Path | None, config: DataConfig) -> Splits:
    """Read one of `SOURCES` from its four idx files, fetching them if they are nowhere here.

    Args:
        name: "mnist", "fashion-mnist" or "kmnist".
        data_dir: folder to look in first; then ``$UNROLL_DATA``, then the cache folder, then the mirrors.
        config: how pixels become time steps; the sizes of images and parts are fixed.

    Raises:
        DataError: files are missing, broken or do not fit each other, or ``config`` asks for another size or part.
    """
    _check_fixed(name, config)
    source = SOURCES[name]
    folder = _find(name, data_dir) or _cached(name, source)
    train_x, train_y = _read_part(folder, "train", len(source.classes))
    test_x, test_y = _read_part(folder, "t10k", len(source.classes))
    preparation = _preparation(source, train_x, config.read)
    return _splits(preparation, (train_x, train_y), (test_x, test_y), name, str(folder))


def read_sample(name: str, data_dir: Path | None, config: DataConfig) -> Splits:
    """Read the 5,000 MNIST digits that are part of unroll: 4,000 to train on, 1,000 to test; mnist_sample.md has more.

    The split is fixed and stratified. ``data_dir`` must be None. Arguments and errors otherwise as in `read`.
    """
    _check_fixed(name, config)
    if data_dir is not None:
        raise ConfigError(f"mnist-sample is part of unroll: data_dir {data_dir} cannot be used with it")
    try:
        with SAMPLE.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"cannot read {SAMPLE} ({shown(error)}); reinstall unroll-rnn") from error
    rest, part = stratified_cut(y, 0.2, seed=0)
    preparation = _preparation(SOURCES["mnist"], x[rest], config.read)
    return _splits(preparation, (x[rest], y[rest]), (x[part], y[part]), name, "unroll")


def credit_of(name: str) -> str:
    """Return whose a set is and its licence, in a sentence; "" for others than those read here."""
    source = SOURCES.get("mnist" if name == "mnist-sample" else name)
    return source.credit if source else ""


def _check_fixed(name: str, config: DataConfig) -> None:
    config.check_unused(name, f"its images are {SIZE}×{SIZE}", "resize")
    config.check_unused(name, "its images are grey", "colour")
    config.check_unused(name, "it has its own test part", "test_fraction", "split_seed")
    config.check_unused(name, "it lacks no values", "missing")
    config.check_unused(name, "it holds images", *OF_SERIES, "max_length")
    config.check_unused(name, "it holds no texts", *OF_TEXTS)


def _preparation(source: Source, train_x: np.ndarray, read: Read) -> Preparation:
    edge = np.ones((SIZE, SIZE), bool)
    edge[1:-1, 1:-1] = False
    framing = Framing(float(train_x[:, edge].mean()), source.box, source.centre)
    image = ImageFormat(SIZE, SIZE, read, framing)
    return Preparation(source.classes, Scaling.of("training", torch.tensor(train_x)), image)


def _splits(
    preparation: Preparation,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    name: str,
    source: str,
) -> Splits:
    def part(x: np.ndarray, y: np.ndarray) -> SequenceData:
        assert preparation.image is not None
        sequences = preparation.image.sequences(torch.tensor(x))
        return SequenceData(sequences, torch.tensor(y, dtype=torch.int64), preparation)

    return Splits(part(*train), part(*test), name, source)


def _read_part(folder: Path, part: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    images_path = _plain_or_gzipped(folder, f"{part}-images-idx3-ubyte")
    labels_path = _plain_or_gzipped(folder, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, ndim=3), read_idx(labels_path, ndim=1)
    if images.shape[1:] != (SIZE, SIZE) or len(images) == 0:
        sizes = "×".join(map(str, images.shape))
        raise DataError(f"{images_path} must hold images of {SIZE}×{SIZE}, got {sizes}")
    if len(images) != len(labels):
        raise DataError(f"{images_path} holds {len(images)} images, but {labels_path} {len(labels)} labels")
    if labels.max() >= classes:
        raise DataError(f"{labels_path} must hold labels from 0 to {classes - 1}, got {labels.max()}")
    return images, labels


def _find(name: str, data_dir: Path | None) -> Path | None:
    """Return the first of the user's folders that holds a file of the set; the set must then be complete and sound."""
    places = []
    if data_dir is not None:
        places += [data_dir, data_dir / name]
    if os.environ.get("UNROLL_DATA"):
        places.append(Path(os.environ["UNROLL_DATA"]) / name)
    return next((folder for folder in places if any(_present(folder, file) for file in FILES)), None)


def _present(folder: Path, file: str) -> Path | None:
    candidates = (folder / file, folder / f"{file}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _plain_or_gzipped(folder: Path, file: str) -> Path:
    path = _present(folder, file)
    if path is None:
        raise DataError(f"{folder / file} is missing, with or without .gz, though other files of the set are there")
    return path


def _cached(name: str, source: Source) -> Path:
    """Return the set's cache folder, after fetching the files that it lacks."""
    folder = cache_folder() / name
    content = read_bytes if source.hashed == "unpacked" else Path.read_bytes
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if all(_present(folder, file) for file in FILES):  # of a cache that another user keeps nothing is written
            return folder
        with writing(folder):
            for file in FILES:
                if not _present(folder, file):  # nor has another process fetched it meanwhile
                    fetch(source.mirrors, f"{file}.gz", folder / f"{file}.gz", source.sha256[file], content)
    except OSError as error:
        raise DataError(f"cannot write to the cache folder {folder}: {error.strerror or error}") from error
    except DownloadError as error:
        raise DownloadError(
            f"{name} is not on this machine: {error}; put {', '.join(file + '.gz' for file in FILES)} "
            f"into {folder}, or name their folder with --data-dir or $UNROLL_DATA"
        ) from error
    return folder
