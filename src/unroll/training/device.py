"""Choose the device and the precision, and keep the state of the device's random generator."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError


def choose_device(name: str) -> tuple[torch.device, str]:
    """Return the device for ``name`` ("auto", "cpu", "cuda" or "mps") and the reason.

    Raises:
        ConfigError: torch does not find this device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), "CUDA is available"
        # Not "mps": recurrent networks were slower and at times wrong on it (pytorch#94691); it must be asked for.
        return torch.device("cpu"), "there is no CUDA device"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' is not available: torch finds no CUDA device; use 'cpu' or 'auto'")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' is not available: torch finds no Apple GPU; use 'cpu' or 'auto'")
    return torch.device(name), "asked for"


def autocast(device: torch.device, precision: Literal["fp32", "bf16"]) -> torch.autocast:
    """Return a context in which operations on ``device`` compute in ``precision``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def rng_state(device: torch.device) -> Tensor | None:
    """Return the state of the generator that dropout uses on ``device``; None if it is torch's global one."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


def set_rng_state(device: torch.device, state: Tensor | None) -> None:
    """Restore the state of the generator on ``device`` from `rng_state`; None does nothing."""
    if device.type == "cuda" and state is not None:
        torch.cuda.set_rng_state(state.cpu(), device)
    if device.type == "mps" and state is not None:
        torch.mps.set_rng_state(state.cpu())
