"""How long a folder of images takes to read: the first time, and from the cache; MNIST written as PNG files."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import cyclopts
from PIL import Image

import unroll
from unroll.training.environment import describe


def write_folder(splits: unroll.Splits, root: Path) -> int:
    """Write the images of a set as root/train/<class>/<n>.png and root/test/…; return how many."""
    for part, data in (("train", splits.train), ("test", splits.test)):
        for name in splits.classes:
            (root / part / name).mkdir(parents=True)
        for number, (image, label) in enumerate(zip(data.x.numpy(), data.y.tolist(), strict=True)):
            Image.fromarray(image).save(root / part / splits.classes[label] / f"{number:05d}.png")
    return len(splits.train) + len(splits.test)


def main(data: str = "mnist") -> None:
    """Write a set of images as files into a temporary folder, load that twice, and print the seconds.

    Args:
        data: a set of images.
    """
    splits = unroll.load(data)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"  # empty, and gone afterwards
        root = Path(folder) / "images"
        count = write_folder(splits, root)
        machine = describe()
        print(f"{count:,} PNG files of {data}, {machine['cores']} cores, {machine['processor']}")
        for what in ("read file by file", "from the cache"):
            start = time.perf_counter()
            loaded = unroll.load(str(root))
            print(f"  {what:18} {time.perf_counter() - start:6.1f} s")
        assert loaded.train.counts == splits.train.counts


if __name__ == "__main__":
    cyclopts.run(main)
