"""The diagrams of the tutorial and of the page about series, drawn as SVG with nothing but the standard library.

``python docs/diagrams.py`` writes them into docs/figures; the same bytes each time. Blue goes in, orange is the hidden
state, green comes out, grey are weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

FIGURES = Path(__file__).parent / "figures"
WIDTH = 800
INPUT, STATE, OUTPUT, LINE, INK = "#0072B2", "#E69F00", "#009E73", "#444444", "#222222"
SOFT = {INPUT: "#cce3f0", STATE: "#fbecca", OUTPUT: "#cdebe2", LINE: "#e8e8e8"}
BEND = 10  # radius of an arrow's corners
PIXELS = 28  # of the digit's sides
STROKE = [(6.5, 8.5), (8, 7), (14, 7.2), (20.5, 6.5), (20, 9.5), (16.5, 15.5), (14, 20), (12.8, 24)]  # of a 7: x, y
MEANINGS = (
    "mean: of all states of the top layer",
    "max: the largest value of each unit",
    "last: the last state of the top layer",
    "head: a linear layer",
    "logits: a number for each class",
)

Point = tuple[float, float]


class Picture:
    """An SVG that grows piece by piece; places and sizes are in units of which it is 800 wide.

    Args:
        title: its name.
        description: what it shows, in a sentence for those who do not see it.
        height: in the same units.
    """

    def __init__(self, title: str, description: str, height: int) -> None:
        self.title, self.height = escape(title), height
        self.parts = [f"<title>{self.title}</title>", f"<desc>{escape(description)}</desc>"]
        for colour in (INPUT, STATE, OUTPUT, LINE):
            self.parts.append(
                f'<marker id="head{colour[1:]}" viewBox="0 0 10 10" refX="9.5" refY="5" markerWidth="10" '
                f'markerHeight="10" markerUnits="userSpaceOnUse" orient="auto">'
                f'<path d="M0 1L10 5L0 9z" fill="{colour}"/></marker>'
            )
        self.draw("rect", width=WIDTH, height=height, rx=12, fill="#ffffff")

    def draw(self, tag: str, content: str = "", /, **attributes: float | str) -> None:
        """Add an element; its attributes are written with - for _, numbers with two decimals at most."""
        element = f"<{tag}"
        for name, value in attributes.items():
            written = value if isinstance(value, str) else f"{round(value, 2):g}"
            element += f' {name.replace("_", "-")}="{written}"'
        self.parts.append(element + (f">{content}</{tag}>" if content else "/>"))

    def text(self, x: float, y: float, *lines: str, size: float = 15, look: str = "") -> None:
        """Write lines about a point; what ``_{...}`` holds is set lower; ``look``: words of bold, turned and start."""
        style: dict[str, float | str] = {"font_size": size, "fill": INK}
        style["text_anchor"] = "start" if "start" in look else "middle"
        if "bold" in look:
            style["font_weight"] = "bold"
        if "turned" in look:
            style["transform"] = f"rotate(-90 {x:g} {y:g})"
        for number, line in enumerate(lines):
            below = size * (1.3 * (number - (len(lines) - 1) / 2) + 0.35)
            lower = rf'<tspan dy="5" font-size="{max(13, size * 0.75):g}">\1</tspan>'
            self.draw("text", re.sub(r"_\{(.*?)\}$", lower, escape(line)), x=x, y=y + below, **style)

    def box(self, x: float, y: float, width: float, height: float, *lines: str, colour: str = LINE) -> None:
        """Draw a box about its centre, with lines of text in it; it hides what is under it."""
        place = {"x": x - width / 2, "y": y - height / 2, "width": width, "height": height, "rx": 7}
        self.draw("rect", **place, fill=SOFT[colour], stroke=colour)
        self.text(x, y, *lines)

    def circle(self, x: float, y: float, radius: float, *lines: str, colour: str) -> None:
        """Draw a circle with lines of text in it."""
        self.draw("circle", cx=x, cy=y, r=radius, fill=SOFT[colour], stroke=colour)
        self.text(x, y, *lines)

    def arrow(self, *points: Point, colour: str = LINE, dashed: bool = False, head: bool = True) -> None:
        """Draw an arrow through points, round its corners; without its head it is a line."""
        path = f"M{points[0][0]:g} {points[0][1]:g}"
        for before, (x, y), after in zip(points, points[1:], points[2:], strict=False):
            (x0, y0), (x1, y1) = (_towards((x, y), end, BEND) for end in (before, after))
            path += f"L{x0:g} {y0:g}Q{x:g} {y:g} {x1:g} {y1:g}"
        look = {"stroke_dasharray": "5 4"} if dashed else {}
        if head:
            look["marker_end"] = f"url(#head{colour[1:]})"
        self.draw("path", d=f"{path}L{points[-1][0]:g} {points[-1][1]:g}", fill="none", stroke=colour, **look)

    def grid(self, x: float, y: float, rows: int, columns: int, cell: float, colour: str, shades: str = "") -> None:
        """Draw rows × columns cells from their upper left corner on; shades are their fills, digits from 0 to 9."""
        width, height = columns * cell, rows * cell
        self.draw("rect", x=x, y=y, width=width, height=height, fill="#ffffff" if shades else SOFT[colour])
        for place, shade in enumerate(shades):
            if shade != "0":
                where = {"x": x + place % columns * cell, "y": y + place // columns * cell}
                self.draw("rect", **where, width=cell, height=cell, fill=colour, fill_opacity=int(shade) / 9)
        lines = [f"M{x + cell * n:g} {y:g}v{height:g}" for n in range(columns + 1)]
        lines += [f"M{x:g} {y + cell * n:g}h{width:g}" for n in range(rows + 1)]
        self.draw("path", d="".join(lines), stroke=colour, stroke_width=1.5 if cell > 8 else 0.3)

    def matrix(self, x: float, y: float, name: str, shape: tuple[int, int], colour: str, axes: Sequence[str]) -> None:
        """Draw a grid from the left of its middle on, its axes named at its sides, name and shape written under it."""
        rows, columns, cell = *shape, 22
        top, middle, bottom = y - rows * cell / 2, x + columns * cell / 2, y + rows * cell / 2
        self.grid(x, top, rows, columns, cell, colour)
        if axes[0]:
            self.text(x - 11, y, axes[0], size=13, look="turned")
        self.text(middle, top - 11, axes[1], size=13)
        self.text(middle, bottom + 18, name, size=17, look="bold")
        self.text(middle, bottom + 42, f"{rows} × {columns}")

    def bars(self, x: float, y: float, step: float, lengths: Sequence[float]) -> None:
        """Draw bars to both sides of x, about the height y; the longest is full."""
        half = step * len(lengths) / 2
        for number, length in enumerate(lengths):
            place = {"x": min(x, x + length), "y": y - half + step * (number + 0.14), "width": abs(length)}
            fill = OUTPUT if length == max(lengths) else SOFT[OUTPUT]
            self.draw("rect", **place, height=step * 0.72, fill=fill, stroke=OUTPUT)
        self.arrow((x, y - half), (x, y + half), head=False)

    def svg(self) -> str:
        """Return the whole as text."""
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img" '
        head += f'aria-label="{self.title}" font-family="DejaVu Sans, Arial, sans-serif" stroke-width="1.5">'
        return "\n".join((head, *self.parts, "</svg>\n"))


def _towards(start: Point, end: Point, distance: float) -> Point:
    share = distance / math.dist(start, end)
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _neuron() -> Picture:
    picture = Picture(
        "A recurrent neuron",
        "Left: a neuron takes the four inputs of a time step through the weights Wx and its own output of the step "
        "before through Wy. Right: the same neuron drawn once for each of two time steps, with the same weights.",
        425,
    )
    picture.text(165, 32, "one recurrent neuron", size=16, look="bold")
    picture.text(585, 32, "the same neuron, unrolled over time", size=16, look="bold")
    picture.arrow((368, 20), (368, 405), dashed=True, head=False)
    for number in range(4):
        picture.arrow((75 + 60 * number, 337), (150 + 10 * number, 243 + 3 * (number in (1, 2))))
        picture.circle(75 + 60 * number, 350, 13, colour=INPUT)
    picture.box(165, 290, 140, 26, "Wx")
    picture.text(165, 385, "X: a time step, four inputs")
    for x, name in ((165, "Y"), (480, "Y0"), (690, "Y1")):
        picture.circle(x, 210, 36, "Σ + b", "tanh", colour=STATE)
        picture.arrow((x, 174), (x, 118), colour=STATE)
        picture.circle(x, 95, 22, name, colour=STATE)
    for time, x in enumerate((480, 690)):
        picture.arrow((x, 339), (x, 247))
        picture.box(x, 290, 44, 26, "Wx")
        picture.grid(x - 44, 339, 1, 4, 22, INPUT)
        picture.text(x, 378, f"X{time}")
        picture.text(x, 403, f"t = {time}", look="bold")
    for start, turn, end in ((188, 265, 202), (503, 585, 653)):
        picture.arrow((start, 95), (turn, 95), (turn, 210), (end, 210), colour=STATE)
        picture.box(turn, 152, 44, 26, "Wy")
    picture.text(325, 152, "the", "output", "of the", "step", "before", size=14)
    picture.arrow((502, 290), (668, 290), dashed=True, head=False)
    picture.text(585, 276, "the same weights", size=14)
    return picture


def _layer() -> Picture:
    picture = Picture(
        "A recurrent layer of five neurons as a matrix product",
        "The inputs, 4 × 3, times Wx, 3 × 5, plus the outputs of the step before, 4 × 5, times Wy, 5 × 5, plus the "
        "bias, 1 × 5, go through tanh and give the outputs of this step, 4 × 5.",
        455,
    )
    state = ("batch", "n_neurons")
    picture.matrix(45, 110, "X_{t}", (4, 3), INPUT, ("batch", "n_inputs"))
    picture.matrix(171, 110, "Wx", (3, 5), LINE, ("n_inputs", "n_neurons"))
    picture.matrix(341, 110, "Y_{t−1}", (4, 5), STATE, state)
    picture.matrix(511, 110, "Wy", (5, 5), LINE, ("n_neurons", "n_neurons"))
    picture.matrix(667, 110, "b", (1, 5), LINE, ("", "n_neurons"))
    for x, sign in ((132, "·"), (302, "+"), (472, "·"), (644, "+")):
        picture.text(x, 110, sign, size=34 if sign == "·" else 24, look="bold")
    picture.text(722, 188, "added to every row", size=13)
    picture.text(30, 345, "=", size=24, look="bold")
    picture.matrix(75, 345, "the sum", (4, 5), LINE, state)
    picture.arrow((185, 345), (225, 345))
    picture.box(255, 345, 58, 34, "tanh")
    picture.arrow((284, 345), (322, 345))
    picture.matrix(341, 345, "Y_{t}", (4, 5), STATE, state)
    picture.arrow((451, 345), (485, 345), (485, 250), (396, 250), (396, 214), colour=STATE, dashed=True)
    picture.text(505, 300, "at the next time step", "this is Y_{t−1}", look="start")
    picture.text(505, 372, "each row: an instance of the batch", "each column: a neuron", look="start")
    return picture


def _unrolled() -> Picture:
    picture = Picture(
        "The loop over a cell",
        "X of shape (time, batch, inputs) is cut into its time steps; each goes into the same cell together with the "
        "hidden state hx of the step before; the new states are collected in the list output, the last is final.",
        440,
    )
    for back in range(4):
        picture.grid(66 - 9 * back, 328 - 9 * back, 4, 3, 16, INPUT)
    picture.text(76, 280, "X", size=17, look="bold")
    picture.text(88, 415, "(time, batch, inputs)", size=14)
    picture.arrow((122, 350), (219, 350), dashed=True)
    picture.text(167, 336, "slices", size=14)
    picture.box(440, 75, 480, 100, colour=OUTPUT)
    picture.text(135, 65, "output", size=17, look="bold")
    picture.text(135, 88, "list of states", size=14)
    picture.text(78, 200, "hidden state", "hx = 0", size=14)
    for x, step, start in ((255, "0", 135), (395, "1", 303), (615, "T−1", 527)):
        picture.arrow((x, 318), (x, 229))
        picture.arrow((x, 171), (x, 113), colour=STATE)
        picture.arrow((start, 200), (x - 49, 200), colour=STATE)
        picture.box(x, 200, 96, 56, "cell", colour=STATE)
        picture.grid(x - 24, 318, 4, 3, 16, INPUT)
        picture.text(x, 400, f"X[{step}]")
        picture.grid(x - 30, 65, 4, 5, 12, STATE)
        picture.text(x, 47, f"output[{step}]", size=14)
    picture.arrow((443, 200), (483, 200), colour=STATE)
    for y in (89, 200, 350):
        picture.text(505, y, "…", size=24)
    for x in (325, 462, 546):
        picture.text(x, 186, "hx")
    picture.text(505, 262, "the same cell", "at every time step", size=14)
    picture.arrow((645, 89), (700, 89), colour=STATE)
    picture.text(740, 89, "final", "state", look="bold")
    return picture


def _rows() -> Picture:
    picture = Picture(
        "An image read row by row",
        "Row after row of 28 pixels goes into a cell of 150 units, which hands its hidden state on to the next row; "
        "after row 28 a linear head makes ten logits of the state, the highest is that of the class 7.",
        310,
    )
    picture.grid(24, 70, PIXELS, PIXELS, 7, INK, _digit())
    picture.draw("rect", x=21, y=158, width=202, height=13, fill=INPUT, fill_opacity=0.3, stroke=INPUT)
    picture.text(122, 48, "an image, 28 × 28")
    picture.arrow((223, 164.5), (340, 164.5), colour=INPUT)
    picture.text(282, 148, "row t")
    picture.text(282, 192, "28 pixels =", "one time step")
    picture.box(389, 164.5, 96, 70, "cell", "150 units", colour=STATE)
    picture.arrow((437, 164.5), (469, 164.5), colour=STATE)
    picture.grid(470, 87.5, 11, 1, 14, STATE, "37159264816")
    picture.arrow((477, 87.5), (477, 55), (389, 55), (389, 128), colour=STATE)
    picture.text(433, 38, "carried on to row t + 1")
    picture.text(477, 266, "hidden state,", "150 numbers")
    picture.arrow((484, 164.5), (593, 164.5), colour=STATE)
    picture.text(539, 148, "after row 28")
    picture.text(539, 192, "the final", "state")
    picture.box(628, 164.5, 68, 56, "linear", "head", colour=OUTPUT)
    picture.arrow((662, 164.5), (690, 164.5), colour=OUTPUT)
    picture.bars(730, 164.5, 19, (-9, 14, -4, 22, -12, 8, -15, 50, 5, 19))
    for number in range(10):
        picture.text(703, 164.5 + 19 * (number - 4.5), str(number), look="bold" if number == 7 else "")
    picture.text(738, 48, "10 logits")
    return picture


def _layers() -> Picture:
    picture = Picture(
        "Stacked layers and readouts",
        "Three recurrent layers over five time steps; each state goes on to the next step and up to the next layer. "
        "The readout last takes the top layer's last state, mean and max take all of them; a head makes logits of it.",
        480,
    )
    times, heights = range(115, 404, 72), (355, 275, 195)
    for x in times:
        picture.circle(x, 425, 15, colour=INPUT)
        picture.arrow((x, 410), (x, 376))
        picture.arrow((x, 175), (x, 105), colour=STATE, head=False)
        for y in heights:
            picture.circle(x, y, 20, colour=STATE)
            if y > heights[-1]:
                picture.arrow((x, y - 20), (x, y - 59), colour=STATE)
            if x < times[-1]:
                picture.arrow((x + 20, y), (x + 51, y), colour=STATE)
    for name, y in zip(("layer 1", "layer 2", "layer 3", "inputs", "time"), (*heights, 425, 458), strict=True):
        picture.text(48, y, name)
    picture.arrow((100, 458), (418, 458))
    picture.draw("rect", x=470, y=45, width=112, height=180, rx=7, fill="none", stroke=LINE, stroke_dasharray="5 4")
    picture.text(526, 28, "readout: one of these", look="bold")
    picture.arrow((times[0], 105), (440, 105), (440, 75), (483, 75), colour=STATE)
    picture.arrow((430, 105), (440, 105), (440, 135), (483, 135), colour=STATE)
    picture.arrow((423, 195), (483, 195), colour=STATE)
    for y, name in ((75, "mean"), (135, "max"), (195, "last")):
        picture.box(526, y, 84, 36, name, colour=OUTPUT)
    picture.arrow((582, 135), (613, 135), colour=OUTPUT)
    picture.box(645, 135, 62, 40, "head", colour=OUTPUT)
    picture.arrow((676, 135), (710, 135), colour=OUTPUT)
    picture.bars(735, 135, 13, (-7, 11, -3, 18, -10, 7, -13, 44, 4, 15))
    picture.text(745, 215, "logits")
    for number, line in enumerate(MEANINGS):
        picture.text(470, 275 + 28 * number, line, look="start")
    return picture


def _frames() -> Picture:
    picture = Picture(
        "A series read in frames",
        "A curve of 22 time steps and under it five frames of 8 steps, each beginning 4 steps after the one before. "
        "The last lacks two steps, which are 0. The cell reads a frame at once and hands its state on to the next.",
        385,
    )
    steps, frame, hop, side, left, top = 22, 8, 4, 26, 24, 150
    values = [math.sin(0.55 * step) * (0.4 + step / 30) for step in range(steps)]
    points = [(left + side * (step + 0.5), 82 - 42 * value) for step, value in enumerate(values)]
    picture.text(left, 20, "a series of 22 time steps", look="start bold")
    picture.arrow(*points, colour=INPUT, head=False)
    for x, y in points:
        picture.circle(x, y, 4, colour=INPUT)
    count = 1 + -(-(steps - frame) // hop)
    for number in range(count):
        y, start = top + 48 * number, number * hop
        real = min(frame, steps - start)
        picture.grid(left + side * start, y - side / 2, 1, real, side, INPUT)
        for missing in range(real, frame):
            picture.grid(left + side * (start + missing), y - side / 2, 1, 1, side, LINE, "0")
            picture.text(left + side * (start + missing + 0.5), y, "0")
        picture.arrow((left + side * (start + frame), y), (704, y), colour=INPUT)
        picture.circle(728, y, 20, "cell", colour=STATE)
        if number:
            picture.arrow((728, y - 28), (728, y - 20), colour=STATE)
    for y, length, words in ((282, frame, "frame: 8 steps at once"), (336, hop, "hop: 4 steps from frame to frame")):
        picture.arrow((left, y), (left + side * length, y))
        picture.text(left, y + 20, words, look="start")
    return picture


def _compiler() -> Picture:
    picture = Picture(
        "How a step becomes a program",
        "step is recorded once as a graph. From the graph come the gradients, and with them the program that the "
        "kernels carry out for all time steps; the JavaScript of the page; the picture of the cell and its gates. What "
        "no program can do goes through PyTorch, step by step.",
        350,
    )
    picture.box(95, 110, 150, 70, "step(x, state)", "your equation", colour=STATE)
    picture.arrow((170, 110), (262, 110))
    picture.text(216, 92, "recorded", size=13)
    picture.box(335, 110, 146, 70, "graph", "products, gates")
    picture.box(555, 50, 146, 56, "gradients")
    picture.box(555, 140, 146, 56, "program", "plain data")
    picture.box(725, 140, 130, 84, "kernels", "AVX2, AVX-512", "float32, bf16", colour=OUTPUT)
    picture.box(642, 240, 296, 66, "JavaScript of the page,", "picture, gates for the doctor", colour=OUTPUT)
    picture.box(642, 315, 296, 40, "PyTorch, step by step")
    picture.arrow((408, 98), (445, 98), (445, 50), (482, 50))
    picture.arrow((408, 122), (445, 122), (445, 140), (482, 140))
    picture.arrow((555, 78), (555, 112))
    picture.arrow((628, 140), (660, 140))
    picture.arrow((335, 145), (335, 240), (494, 240))
    picture.arrow((95, 145), (95, 315), (494, 315), dashed=True)
    picture.text(280, 297, "what no program can do", size=13)
    return picture


def _digit() -> str:
    """Return the shades of the pixels of a 7, its stroke soft at the sides as a pen's."""
    legs = pairwise(STROKE)
    dots = [(x0 + (x1 - x0) * n / 20, y0 + (y1 - y0) * n / 20) for (x0, y0), (x1, y1) in legs for n in range(21)]
    pixels = [(place % PIXELS + 0.5, place // PIXELS + 0.5) for place in range(PIXELS * PIXELS)]
    inks = (1.9 - min(math.dist(pixel, dot) for dot in dots) for pixel in pixels)
    return "".join(str(round(9 * min(max(ink, 0), 1))) for ink in inks)


def diagrams() -> dict[str, str]:
    """Return the text of each SVG by the name of its file."""
    pictures = {"neuron": _neuron(), "layer": _layer(), "unrolled": _unrolled(), "rows": _rows(), "layers": _layers()}
    pictures |= {"frames": _frames(), "compiler": _compiler()}
    return {f"{name}.svg": picture.svg() for name, picture in pictures.items()}


def main() -> None:
    """Write all of them."""
    FIGURES.mkdir(exist_ok=True)
    for name, text in diagrams().items():
        (FIGURES / name).write_text(text, "utf-8", newline="\n")


if __name__ == "__main__":
    main()
