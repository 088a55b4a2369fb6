"""Measure the fraction of padding: in batches of similar lengths, as in training, and in batches in random order."""

from __future__ import annotations

import cyclopts
import numpy as np

import unroll
from unroll.data.batching import padded_share, training_order
from unroll.training.loop import held_out

SETS = ("ucr:JapaneseVowels", "sst2", "sarcasm")


def shares(splits: unroll.Splits, config: unroll.TrainConfig) -> tuple[list[float], list[float]]:
    """Return the shares of each epoch of a training: in its own batches, and in batches in random order."""
    part, _ = held_out(splits, config)
    assert part.lengths is not None
    own, shuffled = [], []
    for epoch in range(1, config.steps_for(steps := -(-len(part) // config.batch_size)) // steps + 1):
        random = np.random.default_rng((config.seed, epoch))
        order, _ = training_order(part.lengths, len(part), config.batch_size, random)
        own.append(padded_share(part.lengths[order].numpy(), config.batch_size))
        shuffled.append(padded_share(random.permutation(part.lengths.numpy()), config.batch_size))
    return own, shuffled


def main(*data: str, seeds: int = 10) -> None:
    """Print the mean over all epochs of all seeds, the least and the greatest of an epoch.

    Args:
        data: sets of sequences of different lengths; default ucr:JapaneseVowels, sst2 and sarcasm.
        seeds: number of seeds, from 0 on.
    """
    for name in data or SETS:
        splits = unroll.load(name)
        train = splits.train
        assert train.lengths is not None
        recipe = unroll.RECIPES["text" if train.texts is not None else "images"]
        by_seed = [shares(splits, recipe.changed(seed=seed).train) for seed in range(seeds)]
        own, shuffled = (np.concatenate([pair[way] for pair in by_seed]) for way in (0, 1))
        print(
            f"{name}: {train.lengths.min()} to {train.lengths.max()} steps; {own.mean():.1%}, of an epoch "
            f"{own.min():.1%} to {own.max():.1%}; in random order {shuffled.mean():.1%}"
        )


if __name__ == "__main__":
    cyclopts.run(main)
