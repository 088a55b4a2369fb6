"""Describe this machine: for `unroll info`, and next to every measured figure."""

from __future__ import annotations

import copy
import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .. import scan
from ..cells import CELLS, Cell
from ..compiler import explain
from ..compiler.explanation import sizes
from ..config import TrainConfig
from ..data.formats.download import cache_folder
from ..errors import ConfigError, InputError
from ..models.classifier import SequenceClassifier
from ..models.ensemble import Ensemble
from ..scan import cpu, sets
from .device import autocast, choose_device
from .fused_step import why_not_fused

TRAINED_IN_BF16 = "trained in bf16; the weights, and everything except training, are float32"
NOMINAL_STEPS = 100  # time steps for which memory is told
PACKAGES = ("torch", "numpy", "safetensors", "pillow", "matplotlib", "scipy")


def describe() -> dict[str, Any]:
    """Return versions, processor, devices and backends as plain JSON types; for anything unavailable, the reason."""
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
        "instruction_sets": _instruction_sets(),
        "backends": scan.backends(),
        "default_backends": {
            f"{cell}, {name}": ": ".join(kind(1, 1).choose_backend(batch, training))
            for cell, kind in CELLS.items()
            for name, training in (("training", True), ("prediction", False))
        },
    }


def describe_model(model: SequenceClassifier | Ensemble, config: TrainConfig | None = None) -> dict[str, str]:
    """Return what computes a model on its device, and why, for `unroll info RUN`; ``config`` is of its training."""
    settings, single = config or TrainConfig(), model.members[0] if isinstance(model, Ensemble) else model
    assert isinstance(single, SequenceClassifier)
    cell = next(module for module in model.modules() if isinstance(module, Cell))
    batch = next(model.parameters()).new_empty(64, 28, cell.input_size)

    def described(find: Callable[[], str]) -> str:
        try:
            return find()
        except InputError as error:  # the run asks for a backend that this machine lacks
            return str(error)

    def refusal() -> str:
        cpu.check_precision(settings.precision, batch.device)
        return ""

    def training() -> str:
        with autocast(batch.device, settings.precision):
            return ": ".join(cell.choose_backend(batch, training=True))

    def step() -> str:
        reason = described(lambda: why_not_fused(single, None, settings))
        return f"operation by operation: {reason}" if reason else "one call of the fused kernels"

    refused, options = described(refusal), model.config
    each = f"{len(model.members)} members, each " if isinstance(model, Ensemble) else ""
    facts = {
        "model": f"{each}{options.cell}, {options.hidden_size} units, layers: {options.num_layers}{options.additions}, "
        f"readout {options.readout}",
        "device": str(batch.device),
        "training": refused or described(training),
        "prediction": described(lambda: ": ".join(cell.choose_backend(batch, training=False))),
        "training_step": "none" if refused else step(),
    }
    return facts | ({"precision": TRAINED_IN_BF16} if settings.precision == "bf16" else {})


def describe_step(model: SequenceClassifier | Ensemble, config: TrainConfig | None = None) -> dict[str, str]:
    """Return what the compiler makes of a model's cells, in short: see `unroll.compiler.explain`."""
    settings, single = config or TrainConfig(), model.members[0] if isinstance(model, Ensemble) else model
    explanations = [
        explain(copy.deepcopy(module).to("cpu", torch.float32))
        for module in single.modules()
        if isinstance(module, Cell)
    ]
    first = explanations[0]
    if first.reason:
        return {"step": f"not compiled: {first.reason}"}
    steps = settings.batch_size * NOMINAL_STEPS
    facts = first.facts()
    held = sum(each.held_bytes for each in explanations) * steps / 1e6
    products = (
        f"{sizes(product.lefts)} to {product.columns:,} columns ({', '.join(product.results)})"
        for product in first.products
    )
    return {
        "step": "compiled" + (f"; gates {', '.join(first.gates)}" if first.gates else ""),
        "products": "; ".join(products),
        "kept": facts["kept"],
        "memory": f"{held:,.1f} MB until the backward pass, for a batch of {settings.batch_size:,} and {NOMINAL_STEPS} "
        "time steps",
    }


def _instruction_sets() -> dict[str, str]:
    """Return what the fused kernels use in each precision, and what is available; with UNROLL_ISA if it is set."""
    available = sorted({name for names in cpu.AVAILABLE.values() for name in names}, key=sets.ORDER.index)
    used = {
        "fp32": cpu.ISA or f"none: {cpu.MISSING}",
        "bf16": cpu.BF16_ISA or f"none: {cpu.why_not_bf16()}",
        "available": ", ".join(available) or "none: the kernels are not built",
    }
    return used | ({sets.VARIABLE: f"{cpu.LIMIT}, the highest instruction set allowed"} if cpu.LIMIT else {})


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
