"""What a notebook shows: HTML that parses, says the right numbers, escapes every name and stays small."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unroll
from unroll import Cell, Evaluation, SequenceClassifier, SequenceData, notebook
from unroll.data.preparation import ImageFormat, Preparation, Scaling

EVIL = "<script>alert('&')</script>"
VOID = {"img"}


class Page(HTMLParser):
    """Reads HTML strictly: every tag is closed, in its order. Keeps rows of cells, the text and the pictures."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.text = ""
        self.images: list[dict[str, str | None]] = []
        self.feed(source)
        self.close()
        assert not self.open
        assert len(source) < 200_000

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in VOID:
            self.images.append(dict(attrs))
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def page(shown: Any) -> Page:
    return Page(shown._repr_html_())


def pixels(found: Page) -> np.ndarray:
    (image,) = found.images
    code = str(image["src"]).removeprefix("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(code))).convert("RGBA"))


def evaluation(*classes: str) -> Evaluation:
    return Evaluation(torch.tensor([[1700, 300], [0, 0]]), 0.25, classes)


def test_an_evaluation() -> None:
    found = page(evaluation("cat", "dog"))
    assert "accuracy 85.00 %" in found.text
    assert ["95 % interval", "83.37 to 86.50 %"] in found.rows
    assert ["right", "1,700 of 2,000"] in found.rows
    assert ["loss", "0.2500"] in found.rows
    assert ["", "cat", "dog"] in found.rows
    assert ["cat", "1,700", "300"] in found.rows
    assert ["dog", "·", "·"] in found.rows
    assert ["cat", "100.00 %", "85.00 %", "91.89 %", "2,000"] in found.rows


def test_of_many_classes_the_worst_confusions_are_shown() -> None:
    counts = torch.eye(300, dtype=torch.int64) * 5
    counts[7, 3], counts[200, 7] = 3, 4
    found = page(Evaluation(counts, 0.25, tuple(f"{n} {'long' * 500}" for n in range(300))))
    at = next(n for n, row in enumerate(found.rows) if row[0].startswith("most often confused"))
    assert [[cell.split(" ")[0] for cell in row] for row in found.rows[at + 1 : at + 3]] == [
        ["200", "7", "4"],
        ["7", "3", "3"],
    ]
    assert ["and 250 more", "", "", "", ""] in found.rows


def test_colours_let_the_page_s_letters_be_read_on_light_and_dark() -> None:
    source = evaluation("cat", "dog")._repr_html_()
    assert "color:" not in source.replace("background-color:", "")
    shares = [float(part.split(")")[0].split(",")[-1]) for part in source.split("background-color:rgba(")[1:]]
    assert len(shares) == 2
    assert max(shares) <= 0.5


@pytest.mark.parametrize("read", ["rows", "columns", "permuted"])
def test_a_data_set_of_images(sample: unroll.Splits, read: Any) -> None:
    form = replace(sample.train.preparation.image, read=read)
    part = sample.train.subset(torch.arange(4000).flip(0))
    preparation = replace(part.preparation, image=form)
    train = replace(part, x=form.sequences(part.x), preparation=preparation)
    found = page(
        replace(sample, train=train, test=replace(sample.test.subset(torch.arange(50)), preparation=preparation))
    )
    assert "mnist-sample from unroll" in found.text
    assert ["test", "50 × 28 × 28 uint8"] in found.rows
    assert ["class", "train", "test"] in found.rows
    assert ["0", "400", "50"] in found.rows
    assert ["9", "400", "0"] in found.rows
    assert ["total", "4,000", "50"] in found.rows
    drawn = pixels(found)
    assert drawn.shape == (28, 10 * 30 - 2, 4)
    for label in range(10):
        first = part.x[part.y == label][0].numpy()
        assert np.array_equal(drawn[:, label * 30 : label * 30 + 28, 0], first)
    assert not drawn[:, 28:30, 3].any()
    assert found.images[0]["alt"] == f"the first image of each class: {', '.join('0123456789')}"


def test_large_images_are_made_small_and_empty_data_has_none() -> None:
    form = ImageFormat(300, 600, "rows")
    noise = torch.randint(256, (40, 300, 600), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    classes = tuple(f"class {n}" for n in range(20))
    data = SequenceData(noise, torch.arange(40) % 20, Preparation(classes, Scaling(0.0, 1.0), form))
    found = page(data)
    assert pixels(found).shape == (28, 10 * 58 - 2, 4)
    assert ["sequences", "40 × 300 × 600 uint8"] in found.rows
    nothing = page(data.subset(torch.arange(0)))
    assert not nothing.images
    assert ["total", "0"] in nothing.rows


def test_series_say_their_lengths_and_what_is_missing() -> None:
    missing = torch.zeros(4, 6, 2, dtype=torch.bool)
    missing[0, :3] = True
    data = SequenceData(
        torch.randn(4, 6, 2), torch.tensor([0, 1, 1, 1]), Preparation(("a", "b"), Scaling(0.0, 1.0)),
        torch.tensor([6, 2, 3, 6]), missing=missing,
    )  # fmt: skip
    found = page(data)
    assert ["sequences", "4 × 6 × 2 float32, lengths 2 to 6, 6 values missing"] in found.rows
    assert ["each", "6 steps × 2 features"] in found.rows
    assert not found.images


def test_a_model() -> None:
    model = SequenceClassifier(
        28, 10, cell="gru", hidden_size=150, num_layers=2, readout="attention", residual=True, backend="reference"
    )
    found = page(model)
    assert "SequenceClassifier: 28 features → 10 classes" in found.text
    facts = {row[0]: row[1] for row in found.rows if len(row) == 2}
    assert facts["cell"] == "gru. Gated recurrent unit: h' = (1 - z) n + z h, with gates r and z."
    assert facts["layers"] == "2 × 150 units, residual, readout attention"
    assert facts["init"] == "orthogonal"
    assert facts["training"] == facts["prediction"] == "scan by reference: asked for"
    assert ["layers.0.0.weight_ih", "450 × 28", "12,600"] in found.rows
    assert ["readout.query", "150", "150"] in found.rows
    assert found.rows[-1] == ["total", "", f"{sum(p.numel() for p in model.parameters()):,}"]


def test_a_model_says_why_a_backend_is_chosen_or_cannot_be() -> None:
    model = SequenceClassifier(7, 2, vocabulary_size=1200).double()
    found = page(model)
    assert "1,200 tokens as 7 features → 2 classes" in found.text
    assert ["prediction", "scan by torch: fastest without gradients on a CPU"] in found.rows
    model.layers[0][0].backend = "cpu"
    (said,) = (row[1] for row in page(model).rows if row[0] == "training")
    assert said.startswith("backend 'cpu' ")


def test_a_cell_of_one_s_own_and_a_deep_stack() -> None:
    class Own(Cell):
        __doc__ = f"{EVIL} h' < h\n\nMore."

        def initial_state(self, batch_size: int, **kwargs: Any) -> Any:
            return torch.zeros(batch_size, self.hidden_size, **kwargs)

        def step(self, x: Any, state: Any) -> Any:
            return state

    found = page(SequenceClassifier(3, 2, cell=Own, hidden_size=4))
    assert EVIL in found.text
    assert "script" not in found.tags
    assert any(row[0] == "training" and row[1].startswith("scan by ") for row in found.rows)
    deep = page(SequenceClassifier(3, 2, cell="lstm", hidden_size=4, num_layers=40, bidirectional=True))
    assert ["and 272 more", "", ""] in deep.rows


def test_every_name_is_escaped(sample: unroll.Splits) -> None:
    classes = tuple(f"{EVIL}{n}" for n in range(10))
    train = replace(sample.train, preparation=replace(sample.train.preparation, classes=classes))
    splits = replace(sample, train=train, test=replace(sample.test, preparation=train.preparation), name=EVIL)
    for shown in (splits, train, evaluation(EVIL, '"><img src=x onerror=alert(1)>')):
        found = page(shown)
        assert EVIL in found.text
        assert "script" not in found.tags
        assert all(set(image) == {"src", "alt", "width", "style"} for image in found.images)


def test_what_is_long_is_cut_and_there_to_be_read() -> None:
    name = "x" * 39 + "<b>" + "y" * 100
    assert notebook.text(name) == f'<span title="{"x" * 39}&lt;b&gt;{"y" * 100}">{"x" * 39}…</span>'
    assert notebook.text("<b>") == "&lt;b&gt;"
