"""Data as a notebook shows it: shape, counts and, of images, the first of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from ..notebook import block, facts, picture, table

if TYPE_CHECKING:
    from .sequences import SequenceData

PICTURES = 10


def data_html(title: str, parts: Mapping[str, SequenceData]) -> str:
    """Return HTML of the parts of a data set, by name; they share their preparation."""
    first = next(iter(parts.values()))
    said = {name: _shape(part) for name, part in parts.items()} | {"each": first.steps}
    classes, counts = first.preparation.classes, [part.counts for part in parts.values()]
    rows = [(name, *(f"{count[name]:,}" for count in counts)) for name in classes]
    total = ("total", *(f"{len(part):,}" for part in parts.values()))
    return block(title, facts(said), _pictures(first), table(("class", *parts), rows, total))


def _shape(data: SequenceData) -> str:
    said = f"{' × '.join(f'{size:,}' for size in data.x.shape)} {str(data.x.dtype).removeprefix('torch.')}"
    if data.lengths is not None and len(data):
        said += f", lengths {int(data.lengths.min()):,} to {int(data.lengths.max()):,}"
    if data.missing is not None:
        said += f", {int(data.missing.sum()):,} values missing"
    return said


def _pictures(data: SequenceData) -> str:
    form = data.preparation.image
    there = [label for label, count in enumerate(data.counts.values()) if count][:PICTURES]
    if form is None or not there:
        return ""
    firsts = torch.stack([(data.y == label).nonzero()[0, 0] for label in there])
    names = ", ".join(data.preparation.classes[label] for label in there)
    images = form.images(data.x[firsts].cpu()).numpy()
    return f"<div>{picture(images, f'the first image of each class: {names}')}</div>"
