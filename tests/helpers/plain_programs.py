"""Programs of some cells as plain numbers for tests/sanitize/driver.cpp: python tests/helpers/plain_programs.py"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from own_cells import EIGHT
from unroll import GRU, LSTM, RNN, Cell
from unroll.compiler import compile_step
from unusual_cells import UNDERSTOOD

FILE = Path(__file__).parents[1] / "sanitize" / "programs.txt"
COMMAND = "python tests/helpers/plain_programs.py"
CELLS: dict[str, tuple[Any, tuple[tuple[int, int], ...]]] = {  # each with features and units
    "RNN": (RNN, ((1, 1), (28, 17))),
    "GRU": (GRU, ((1, 33), (28, 150))),
    "LSTM": (LSTM, ((3, 1), (28, 64))),
    "ChoGRU": (EIGHT["ChoGRU"], ((1, 1), (28, 50))),
    "LEM": (EIGHT["LEM"], ((1, 17), (5, 32))),
    "PeepholeLSTM": (EIGHT["PeepholeLSTM"], ((1, 40), (28, 5))),
    **{
        name: (UNDERSTOOD[name], sizes)
        for name, sizes in {
            "Attentive": ((3, 1), (5, 18)),  # softmax
            "LayerNormModule": ((2, 16), (3, 21)),
            "FourParts": ((1, 6), (5, 34)),  # of the state, of different widths, and slices of them
            "PointwiseInput": ((17, 17), (32, 32)),  # x without a product
            "MatmulStyles": ((3, 19),),  # products with several tensors at once
            "Tied": ((2, 9),),
            "SliceAssigned": ((3, 11),),
            "Functions": ((1, 13),),
            "Highest": ((2, 35),),
        }.items()
    },
}


def plain(item: Any) -> str:
    """Return a program, or a part of it, as nested lists of numbers; None is an empty one."""
    if item is None:
        return "()"
    if isinstance(item, tuple):
        return "(" + ", ".join(map(plain, item)) + ")"
    return repr(item) if isinstance(item, float) else str(int(item))


def programs() -> str:
    """Return the text of the file: for each program a name, then its numbers."""
    lines = [f"# Written by {COMMAND}; see tests/sanitize/driver.cpp."]
    for name, (kind, all_sizes) in CELLS.items():
        for inputs, hidden in all_sizes:
            cell: Cell = kind(inputs, hidden)
            lines.append(f"{name}-{inputs}-{hidden}")
            lines += textwrap.wrap(plain(compile_step(cell).program), 120, break_long_words=False)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(programs())
