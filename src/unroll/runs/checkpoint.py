"""Checkpoints of an unfinished training: written periodically, verified when read, the previous one kept."""

from __future__ import annotations

import hashlib
import io
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError, RunError, UnrollWarning
from ..formatting import shown
from ..training.loop import Training
from ..validation import CONFIG, check_at_least
from .config_file import RunConfig
from .folder import PREVIOUS, RESUME, checkpoints, first_line, write

SECONDS = 10.0  # of training between two checkpoints
DIGEST = hashlib.sha256().digest_size  # bytes, at the end of the file
FREE = ("format", "unroll", "torch", "python", "tensorboard")  # keys of config.json that may differ on resuming
MOVABLE = ("name", "dir")  # likewise of its data, whose content has a fingerprint


def check_seconds(seconds: float) -> None:
    """Raise `ConfigError` unless ``seconds`` is a valid interval between checkpoints."""
    check_at_least("checkpoint_seconds", seconds, 0)
    if seconds == float("inf"):
        raise ConfigError("checkpoint_seconds must be a finite number, got inf; 0 writes a checkpoint after each epoch")


class Checkpoints:
    """Writes the checkpoints of a training into its run's folder.

    Args:
        path: the folder.
        config: the run's config.json; each checkpoint repeats its settings.
        seconds: of training between two checkpoints; 0 writes one after each epoch only.
        keep: whether the newest checkpoint in the folder is good, so that it stays as the previous one.
        clock: returns seconds.
    """

    def __init__(
        self,
        path: Path,
        config: RunConfig,
        seconds: float,
        keep: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._seconds, self._keep, self._clock = path, seconds, keep, clock
        self._settings = json.dumps(_settings(config))
        self._written = clock()

    def is_due(self, epoch_ended: bool = False) -> bool:
        """Return whether the next checkpoint is due."""
        return self._clock() - self._written > self._seconds if self._seconds else epoch_ended

    def write(self, training: Training) -> None:
        """Write a checkpoint of the training."""
        previous = self._path / PREVIOUS if self._keep else None
        write(self._path / RESUME, packed(training, self._settings), previous)
        self._keep = True
        self._written = self._clock()

    def remove(self) -> None:
        """Remove the checkpoints: the training has ended."""
        for file in (PREVIOUS, RESUME):  # in this order: the older one must not remain alone
            (self._path / file).unlink(missing_ok=True)


def packed(training: Training, settings: str) -> bytes:
    """Return the content of a checkpoint of the training, which repeats the run's settings."""
    buffer = io.BytesIO()
    torch.save({"settings": settings, "training": training.state_dict()}, buffer)
    content = buffer.getvalue()
    return content + hashlib.sha256(content).digest()


def read_checkpoint(path: Path, config: RunConfig) -> tuple[dict[str, Any], bool]:
    """Return the state for `Training.load_state_dict`, and whether it is from the newest checkpoint.

    Args:
        path: the run's folder.
        config: the run's config.json.

    Raises:
        RunError: there is no intact checkpoint, or the settings in config.json were changed after the training began.

    Warns:
        UnrollWarning: the newest checkpoint is damaged; the previous one is used.
    """
    files = checkpoints(path)
    if not files:
        raise RunError(f"{path} cannot be resumed: it has no {RESUME}; start it again with --overwrite")
    faults: list[str] = []
    for file in files:
        try:
            content = _read(file)
        except Exception as error:  # torch raises many kinds of errors for a damaged file
            faults.append(f"{file} is broken ({first_line(error)})")
            continue
        _check_settings(path, config, json.loads(content["settings"]))
        newest = file.name == RESUME
        if not newest:
            fault = faults[0] if faults else f"{path / RESUME} is missing"
            history = content["training"]["history"]
            epochs = history[-1]["epoch"] if history else 0
            warnings.warn(f"{fault}; using the checkpoint before it ({epochs} epochs)", UnrollWarning, stacklevel=3)
        return content["training"], newest
    raise RunError(f"{'; '.join(faults)}; start the run again with --overwrite")


def _read(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        raise ValueError("its checksum differs")
    return dict(torch.load(io.BytesIO(content[:-DIGEST]), map_location="cpu", weights_only=True))


def _settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that must not change during a training, by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(config.to_dict())).items():  # tuples as lists
        if name not in FREE:
            flat.update({f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value})
    return {name: value for name, value in flat.items() if name not in {f"data.{key}" for key in MOVABLE}}


def _check_settings(path: Path, config: RunConfig, begun: dict[str, Any]) -> None:
    now = _settings(config)
    differing = [name for name in {**begun, **now} if now.get(name) != begun.get(name)]
    if differing:
        words = ", ".join(
            f"{shown(name)} is {shown(json.dumps(now.get(name)), 40)}, was {shown(json.dumps(begun.get(name)), 40)}"
            for name in differing[:3]
        ) + (f" and {len(differing) - 3} more" if len(differing) > 3 else "")
        raise RunError(
            f"{path / CONFIG} was edited after the training began ({words}); change it back, or start a new run"
        )
