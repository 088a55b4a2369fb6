"""Answers of the tutorial's model: 10,000 images, and one; nn.RNN in inference mode, unroll and ONNX Runtime, in turn.

ONNX Runtime has the same model exported by torch.onnx, in a process of its own and with as many threads as it likes;
where it is not installed it is named and left out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cyclopts
import torch

import unroll
from benchmarks.peers import Peer
from benchmarks.show import arrays, finish, logits, open_peers
from unroll.bench import Report, models
from unroll.bench.clock import Contender, compare

PEERS = ("ONNX Runtime",)


def peer_contender(peer: Peer, what: str, flops: float, count: int) -> Contender:
    """Return a peer's answers, to "many" images or to "one", as a contender that shows ``count`` probabilities."""
    right = {"probabilities": logits(peer)[:count].softmax(dim=1)}
    return Contender(peer.name, {None: partial(peer.run, what)}, flops=flops, results=lambda: right)


def main(
    *,
    images: int = models.IMAGES,
    rounds: int = 5,
    peers: Path | None = None,
    threads: int | None = None,
    out: Path | None = None,
) -> None:
    """Time answers in turn and print medians and ratios, round by round.

    Args:
        images: to evaluate, of random pixels.
        rounds: of each.
        peers: Python of an environment that has the peers; default the one that runs this.
        threads: of torch; default as torch has it.
        out: folder for bench.json and bench.png, new or empty.
    """
    if threads:
        torch.set_num_threads(threads)
    data = models.random_images(images)
    read = arrays(models.classifier(), unroll.Splits(data, data, "random images", "here"))
    report = Report(full=False)
    with open_peers(PEERS, read, peers, report) as running:
        contenders, right = models.evaluation_contenders(images)
        contenders += [peer_contender(peer, "many", models.FORWARD * images, models.COMPARED) for peer in running]
        title = f"evaluation of {images:,} images of 28×28"
        report.add(compare(title, contenders, "unroll", unit="evaluation", expected=right, rounds=rounds))
        contenders, right = models.latency_contenders()
        contenders += [peer_contender(peer, "one", models.FORWARD, 1) for peer in running]
        title = "one image of 28×28, from pixels to logits"
        report.add(compare(title, contenders, "unroll", unit="image", expected=right, rounds=rounds))
    finish(report, out)


if __name__ == "__main__":
    cyclopts.run(main)
