"""How results look in a notebook: small pieces of HTML, made of plain values, readable on light and on dark pages.

Every text is escaped here and nowhere else. Colours are seen through, and letters keep the page's own.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .formatting import printable

ROWS = 50  # of a table; the rest is counted, not shown
MATRIX = 25  # classes up to which a confusion matrix is drawn; beyond, what was most often taken for what
CONFUSIONS = 20
LONG = 40  # characters of a name
RIGHT, WRONG = "0,114,178", "213,94,0"  # of Okabe and Ito's colours two that everybody tells apart
LINE = "rgba(128,128,128,0.35)"
CELL = f"padding:1px 8px;border:0;border-bottom:1px solid {LINE}"


def block(title: str, *parts: str) -> str:
    """Return parts, each HTML, under a title."""
    return f'<div style="line-height:1.4"><strong>{text(title, 200)}</strong>{"".join(parts)}</div>'


def beside(*parts: str) -> str:
    """Return parts, each HTML, beside each other as far as there is room."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:0 32px;align-items:flex-start">{"".join(parts)}</div>'


def text(value: object, longest: int = LONG) -> str:
    """Return a value as escaped text; what is too long is cut, and shown whole where one points at it."""
    whole = printable(str(value))
    if len(whole) <= longest:
        return html.escape(whole)
    return f'<span title="{html.escape(whole[:1000])}">{html.escape(whole[: longest - 1])}…</span>'


def facts(pairs: Mapping[str, str]) -> str:
    """Return names and what is to be said of each, in two columns."""
    rows = (
        f'<tr><td style="{CELL};text-align:left;white-space:nowrap;opacity:0.75">{text(name)}</td>'
        f'<td style="{CELL};text-align:left">{text(value, 300)}</td></tr>'
        for name, value in pairs.items()
    )
    return f'<table style="margin:4px 0;border-collapse:collapse"><tbody>{"".join(rows)}</tbody></table>'


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], total: Sequence[object] = ()) -> str:
    """Return a table; the first column holds names, the others numbers. ``total`` stands below a line."""
    shown = [_row("td", row) for row in rows[:ROWS]]
    if len(rows) > ROWS:
        shown.append(_row("td", (f"and {len(rows) - ROWS:,} more", *[""] * (len(headings) - 1))))
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
        images: (n, height, width) uint8, n at least 1.
        alt: what there is to see, for those who do not see it.
    """
    from PIL import Image  # here, as most of what is shown has no picture

    gap = 2
    n, height, width = images.shape
    scale = min(1.0, 56 / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    sheet = Image.new("LA", (n * (size[0] + gap) - gap, size[1]), (0, 0))
    for number, image in enumerate(images):
        small = Image.fromarray(image).resize(size, Image.Resampling.BOX).convert("LA")
        sheet.paste(small, (number * (size[0] + gap), 0))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    code = base64.b64encode(buffer.getvalue()).decode()
    larger = max(1, 56 // max(size))
    return (
        f'<img src="data:image/png;base64,{code}" alt="{html.escape(alt)}" width="{sheet.width * larger}" '
        'style="image-rendering:pixelated;max-width:100%;margin:4px 0">'
    )


def evaluation_html(found: Mapping[str, Any]) -> str:
    """Return what `Evaluation.to_dict` has, for a notebook."""
    low, high = found["interval"]
    counted = {
        "95 % interval": f"{100 * low:.2f} to {percent(high)}",
        "right": f"{found['correct']:,} of {found['n']:,}",
        "loss": f"{found['loss']:.4f}",
        "largest class": percent(found["majority"]["share"]),
        "balanced accuracy": percent(found["balanced_accuracy"]),
        "macro F1": percent(found["macro_f1"]),
    }
    scores = [
        (score["name"], *(percent(score[name]) for name in ("precision", "recall", "f1")), f"{score['support']:,}")
        for score in found["per_class"]
    ]
    classes, confusion = found["classes"], found["confusion"]
    drawn = _matrix(classes, confusion) if len(classes) <= MATRIX else _confusions(classes, confusion)
    tables = beside(drawn, table(("class", "precision", "recall", "F1", "support"), scores))
    return block(f"accuracy {percent(found['accuracy'])}", facts(counted), tables)


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
    # At most half opaque: dark letters on it can be read, and light ones too.
    strength = 0.12 + 0.38 * share ** (1 if right else 0.5)
    colour = f"background-color:rgba({RIGHT if right else WRONG},{strength:.2f})"
    return f'<td style="{CELL};text-align:right;{colour}">{count:,}</td>'


def _confusions(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    wrong = sorted(
        ((count, true, j) for true, counts in enumerate(confusion) for j, count in enumerate(counts) if j != true),
        key=lambda found: -found[0],
    )
    rows = [(classes[true], classes[j], f"{count:,}") for count, true, j in wrong[:CONFUSIONS] if count]
    return table(("most often confused: true class", "predicted", "sequences"), rows)


def percent(fraction: float | None) -> str:
    """Return a fraction as "97.53 %", and what is not defined as "–"."""
    return "–" if fraction is None else f"{100 * fraction:.2f} %"
