"""What this machine offers: for `unroll info`, and beside every figure that was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch

from . import scan
from .data.download import cache_folder
from .errors import ConfigError
from .train import choose_device

PACKAGES = ("torch", "numpy", "safetensors", "pillow", "matplotlib", "mlxtend")


def describe() -> dict[str, Any]:
    """Return versions, processor, devices and backends as plain JSON types; what is not there comes with the reason."""
    device, reason = choose_device("auto")
    batch = torch.empty(64, 28, 28, device=device)
    return {
        "unroll": importlib.metadata.version("unroll-rnn"),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": {name: _device(name) for name in ("cpu", "cuda", "mps")},
        "default_device": f"{device}: {reason}",
        "cache": str(cache_folder()),
        "backends": scan.backends(),
        "default_backends": {
            name: ": ".join(scan.choose_backend("auto", batch, training))
            for name, training in (("training", True), ("prediction", False))
        },
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()} ({torch.backends.cpu.get_cpu_capability()})"
    return platform.processor() or platform.machine()


def _device(name: str) -> str:
    try:
        device, _ = choose_device(name)
    except ConfigError as error:
        return str(error)
    if device.type == "cuda":
        return f"available: {torch.cuda.get_device_name(device)}"
    return "available"
