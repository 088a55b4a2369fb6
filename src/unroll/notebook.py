"""Show results in a notebook, as small pieces of HTML made of plain values, readable on light and dark pages.

All text is escaped here and nowhere else. Background colours are transparent, and text keeps the page's colour.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .formatting import printable

MOST_ROWS = 50  # of a table; further rows are only counted
MOST_MATRIX_CLASSES = 25  # with more classes, the most frequent confusions are listed instead of the matrix
MOST_CONFUSIONS = 20
NAME_LENGTH = 40  # characters
RIGHT, WRONG = "0,114,178", "213,94,0"  # of Okabe and Ito's palette, distinct for colour-blind readers too
LINE = "rgba(128,128,128,0.35)"
CELL = f"padding:1px 8px;border:0;border-bottom:1px solid {LINE}"


def block(title: str, *parts: str) -> str:
    """Return HTML parts under a title."""
    return f'<div style="line-height:1.4"><strong>{text(title, 200)}</strong>{"".join(parts)}</div>'


def side_by_side(*parts: str) -> str:
    """Return HTML parts side by side, as far as they fit."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:0 32px;align-items:flex-start">{"".join(parts)}</div>'


def text(value: object, longest: int = NAME_LENGTH) -> str:
    """Return a value as escaped text; long values are truncated, with the full text in the tooltip."""
    whole = printable(str(value))
    if len(whole) <= longest:
        return html.escape(whole)
    return f'<span title="{html.escape(whole[:1000])}">{html.escape(whole[: longest - 1])}…</span>'


def facts(pairs: Mapping[str, str]) -> str:
    """Return names and values in two columns."""
    rows = (
        f'<tr><td style="{CELL};text-align:left;white-space:nowrap;opacity:0.75">{text(name)}</td>'
        f'<td style="{CELL};text-align:left">{text(value, 300)}</td></tr>'
        for name, value in pairs.items()
    )
    return f'<table style="margin:4px 0;border-collapse:collapse"><tbody>{"".join(rows)}</tbody></table>'


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], total: Sequence[object] = ()) -> str:
    """Return a table; the first column has names, the others numbers. ``total`` is the last row."""
    shown = [_row("td", row) for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        shown.append(_row("td", (f"and {len(rows) - MOST_ROWS:,} more", *[""] * (len(headings) - 1))))
    if total:
        shown.append(_row("th", total))
    return (
        f'<table style="margin:4px 0;border-collapse:collapse"><thead>{_row("th", headings)}</thead>'
        f"<tbody>{''.join(shown)}</tbody></table>"
    )


def _row(tag: str, cells: Iterable[object]) -> str:
    made = (
        f'<{tag} style="{CELL};text-align:{"right" if column else "left"}">{text(cell)}</{tag}>'
        for column, cell in enumerate(cells)
    )
    return f"<tr>{''.join(made)}</tr>"


def picture(images: np.ndarray, alt: str) -> str:
    """Return images side by side as a small PNG.

    Args:
        images: (n, height, width) or (n, height, width, 3) uint8, n at least 1.
        alt: what the images show, for readers who cannot see them.
    """
    from PIL import Image  # here, as most results have no picture

    gap = 2
    n, height, width = images.shape[:3]
    mode = "LA" if images.ndim == 3 else "RGBA"
    scale = min(1.0, 56 / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    sheet = Image.new(mode, (n * (size[0] + gap) - gap, size[1]), (0,) * len(mode))
    for number, image in enumerate(images):
        small = Image.fromarray(image).resize(size, Image.Resampling.BOX).convert(mode)
        sheet.paste(small, (number * (size[0] + gap), 0))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    code = base64.b64encode(buffer.getvalue()).decode()
    larger = max(1, 56 // max(size))
    return (
        f'<img src="data:image/png;base64,{code}" alt="{html.escape(alt)}" width="{sheet.width * larger}" '
        'style="image-rendering:pixelated;max-width:100%;margin:4px 0">'
    )


def evaluation_html(evaluation: Mapping[str, Any]) -> str:
    """Show the contents of `Evaluation.to_dict` in a notebook."""
    low, high = evaluation["interval"]
    counted = {
        "95 % interval": f"{100 * low:.2f} to {percent(high)}",
        "right": f"{evaluation['correct']:,} of {evaluation['n']:,}",
        "loss": f"{evaluation['loss']:.4f}",
        "largest class": percent(evaluation["majority"]["share"]),
        "balanced accuracy": percent(evaluation["balanced_accuracy"]),
        "macro F1": percent(evaluation["macro_f1"]),
    }
    scores = [
        (score["name"], *(percent(score[name]) for name in ("precision", "recall", "f1")), f"{score['support']:,}")
        for score in evaluation["per_class"]
    ]
    classes, confusion = evaluation["classes"], evaluation["confusion"]
    drawn = _matrix(classes, confusion) if len(classes) <= MOST_MATRIX_CLASSES else _confusions(classes, confusion)
    tables = side_by_side(drawn, table(("class", "precision", "recall", "F1", "support"), scores))
    return block(f"accuracy {percent(evaluation['accuracy'])}", facts(counted), tables)


def _matrix(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    heads = "".join(f'<th style="{CELL};text-align:right">{text(name)}</th>' for name in classes)
    rows = []
    for true, counts in enumerate(confusion):
        cells = "".join(_count(count, count / max(1, sum(counts)), true == j) for j, count in enumerate(counts))
        rows.append(f'<tr><th style="{CELL};text-align:left">{text(classes[true])}</th>{cells}</tr>')
    return (
        '<table style="margin:4px 0;border-collapse:collapse">'
        '<caption style="text-align:left;caption-side:bottom;opacity:0.75;white-space:nowrap">'
        "rows: true class, columns: predicted</caption>"
        f'<thead><tr><th style="{CELL}"></th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _count(count: int, share: float, right: bool) -> str:
    if not count:
        return f'<td style="{CELL};text-align:right"><span style="opacity:0.4">·</span></td>'
    # At most half opaque, so that both dark and light text is legible.
    strength = 0.12 + 0.38 * share ** (1 if right else 0.5)
    colour = f"background-color:rgba({RIGHT if right else WRONG},{strength:.2f})"
    return f'<td style="{CELL};text-align:right;{colour}">{count:,}</td>'


def _confusions(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    wrong = sorted(
        ((count, true, j) for true, counts in enumerate(confusion) for j, count in enumerate(counts) if j != true),
        key=lambda entry: -entry[0],
    )
    rows = [(classes[true], classes[j], f"{count:,}") for count, true, j in wrong[:MOST_CONFUSIONS] if count]
    return table(("most often confused: true class", "predicted", "sequences"), rows)


def percent(fraction: float | None) -> str:
    """Return a fraction as "97.53 %", and what is not defined as "–"."""
    return "–" if fraction is None else f"{100 * fraction:.2f} %"
