"""How long files take to read, and how much memory: beside what the library below needs for the same file alone.

A long CSV file of 800,000 rows and 6 features and a wide one of 30 MB beside `pandas.read_csv`, the long one as Parquet
beside `pandas.read_parquet`; sentences beside the library tokenizers, which learns the same vocabulary and encodes
them; PNG files beside Pillow; and a `.ts` file. Both sides are timed in turn, in one process, in seconds of the CPU,
which other programs disturb least; the ratio is the median of those of all rounds. Memory is the peak of a process that
reads the file once, less what it held before; it is read from /proc, so there is none but on Linux.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cyclopts
import numpy as np
import pandas as pd
import tokenizers as hf
from PIL import Image

import unroll
from unroll.training.environment import describe

MEMORY = """
import io, re, sys
from pathlib import Path
import pandas
from unroll.data.catalog import load
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
pandas.read_csv(io.StringIO("a\\n1\\n"))
before = peak()
load(sys.argv[1])
print(peak() - before)
"""


def write_long(path: Path, series: int) -> None:
    """Write series of 200 time steps and 6 features, a row for each time step."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("id,time,ax,ay,az,gx,gy,gz,label\n")
        for number in range(series):
            rows = enumerate(random.normal(size=(200, 6)))
            file.writelines(f"s{number},{t},{','.join(f'{v:.4f}' for v in x)},{'ABCD'[number % 4]}\n" for t, x in rows)


def write_wide(path: Path, series: int) -> None:
    """Write series of 400 time steps, each in a row."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        file.write(",".join(f"t{t}" for t in range(400)) + ",label\n")
        for number in range(series):
            file.write(",".join(f"{v:.5f}" for v in random.normal(size=400)) + f",{'AB'[number % 2]}\n")


def write_ts(path: Path, series: int) -> None:
    """Write series of 200 time steps and 3 features."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("@classLabel true a b\n@data\n")
        for number in range(series):
            features = (",".join(f"{v:.5f}" for v in random.normal(size=200)) for _ in range(3))
            file.write(f"{':'.join(features)}:{'ab'[number % 2]}\n")


def write_texts(path: Path, count: int) -> None:
    """Write a class and a sentence of 5 to 24 of 30,000 words in each line, frequent ones more often."""
    random = np.random.default_rng(0)
    words = [
        "".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), size)) for size in random.integers(2, 10, 30_000)
    ]
    with path.open("w") as file:
        for number in range(count):
            chosen = (30_000 * random.random(random.integers(5, 25)) ** 3).astype(int)
            file.write(f"{('good', 'bad')[number % 2]} {' '.join(words[word] for word in chosen)}\n")


def read_texts(path: Path) -> None:
    """Read sentences by the library tokenizers alone: learn the words, and encode all."""
    texts = [line.split(" ", 1)[1] for line in path.read_text().splitlines()]
    tokenizer = hf.Tokenizer(hf.models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = hf.normalizers.Sequence([hf.normalizers.NFKC(), hf.normalizers.Lowercase()])
    tokenizer.pre_tokenizer = hf.pre_tokenizers.Whitespace()
    trainer = hf.trainers.WordLevelTrainer(vocab_size=20_000, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_batch(texts)


def write_images(root: Path, count: int) -> None:
    """Write images of 28×28 pixels into two folders."""
    random = np.random.default_rng(0)
    for number in range(count):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (28, 28), np.uint8)).save(folder / f"{number}.png")


def read_images(root: Path) -> None:
    """Read images by Pillow alone."""
    for path in root.rglob("*.png"):
        with Image.open(path) as image:
            np.asarray(image.convert("L"))


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes, in seconds of the CPU."""
    start = time.process_time()
    call()
    return time.process_time() - start


def compare(what: str, own: Callable[[], object], other: Callable[[], object], rounds: int) -> str:
    """Time both in turn; return a line with the median of each, and of their ratios."""
    own(), other()
    times = [(seconds(own), seconds(other)) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in times)
    first, second = (statistics.median(side) for side in zip(*times, strict=True))
    return f"  {what:34} {first:6.2f} s {second:6.2f} s {ratio:6.2f}"


def peak(path: Path) -> float:
    """Return how much memory reading a file takes at its most, in sizes of the file."""
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024 / path.stat().st_size


def main(rounds: int = 7, series: int = 4000, images: int = 3000, sentences: int = 200_000) -> None:
    """Write files into a temporary folder, read each by unroll and by the library alone, and print seconds and ratios.

    Args:
        rounds: times that each is read.
        series: in the long file, of 200 rows each.
        images: PNG files.
        sentences: lines of text.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        machine = describe()
        print(f"{machine['cores']} cores, {machine['processor']}; unroll, the library alone, ratio, peak memory")
        for name, write in (("long", write_long), ("wide", write_wide)):
            path = root / f"{name}.csv"
            write(path, series if name == "long" else series * 19 // 8)
            size = path.stat().st_size / 2**20
            line = compare(
                f"{name} CSV, {size:.0f} MB, pandas",
                lambda p=path: unroll.load(p),
                lambda p=path: pd.read_csv(p),
                rounds,
            )
            print(f"{line}   {peak(path):.1f} × the file")
        path = root / "long.parquet"
        pd.read_csv(root / "long.csv").to_parquet(path, index=False)
        name = f"long Parquet, {path.stat().st_size / 2**20:.0f} MB, pandas"
        line = compare(name, lambda p=path: unroll.load(p), lambda p=path: pd.read_parquet(p), rounds)
        print(f"{line}   {peak(path):.1f} × the file")
        path = root / "one.ts"
        write_ts(path, series)
        size = path.stat().st_size / 2**20
        unroll.load(path)
        own = statistics.median(seconds(lambda: unroll.load(path)) for _ in range(rounds))
        print(f"  {f'.ts, {size:.0f} MB':34} {own:6.2f} s, {size / own:.0f} MB/s   {peak(path):.1f} × the file")
        path = root / "sentences.txt"
        write_texts(path, sentences)
        own_and_library = (lambda p=path: unroll.load(p), lambda p=path: read_texts(p))
        line = compare(f"{sentences:,} sentences, tokenizers", *own_and_library, max(1, rounds // 2))
        print(f"{line}   {peak(path):.1f} × the file")
        write_images(root / "images", images)

        def uncached() -> None:
            os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=folder)
            unroll.load(root / "images")

        print(compare(f"{images:,} PNG files, Pillow", uncached, lambda: read_images(root / "images"), rounds))


if __name__ == "__main__":
    cyclopts.run(main)
