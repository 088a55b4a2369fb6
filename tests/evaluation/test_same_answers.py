"""The page, the server and the command line: one answer to one picture."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import unroll
from unroll.export import export_html
from unroll.runs.data import load_test
from unroll.server import create_app, guarded, load_served

pytest_plugins = ["browser"]

DIGITS = 200
# Takes files as the page's own input does when they are dropped, and answers each.
ASK = """async (files) => {
    const description = JSON.parse(document.querySelector("#description").textContent);
    const input = new DigitInput(document.createElement("div"), description, () => {});
    const model = new Model(description.model, description.calibration, STEPS);
    const answers = [];
    for (const content of files) {
        await input.take(new File([decode.bytes(content)], "digit.png", { type: "image/png" }));
        answers.push(Array.from(model.probabilities(input.sequence)));
    }
    return answers;
}"""


def png(digit: np.ndarray, number: int) -> bytes:
    """Every third digit as it is, every third large on a sheet, in a corner, every third so as a negative."""
    image = Image.fromarray(digit)
    if number % 3:
        sheet = Image.new("L", (160, 120), 0)
        sheet.paste(image.resize((84, 84), Image.Resampling.BICUBIC), (5 + number % 50, 3 + number % 30))
        image = Image.fromarray(255 - np.asarray(sheet)) if number % 3 == 1 else sheet
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def test_page_server_and_predict_agree_on_200_digits(
    run: unroll.Run,
    sample: unroll.Splits,
    visit: Callable[..., Any],
    call: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    digits = sample.test.x[:: len(sample.test) // DIGITS][:DIGITS].numpy()
    contents = [png(digit, number) for number, digit in enumerate(digits)]
    files = [tmp_path / f"{number:03}.png" for number in range(DIGITS)]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)

    status, out, _ = call("predict", run.path, *files, "--json")
    assert status == 0
    predicted = json.loads(out)["predictions"]

    application, service = create_app(load_served([run.path]))
    client = TestClient(guarded(application, service, hosts=None))
    upload = [("file", (file.name, content)) for file, content in zip(files, contents, strict=True)]
    served = client.post("/predict", files=upload).json()["predictions"]

    page = visit(export_html(run, load_test(run), tmp_path / "page.html").path)
    seen = np.array(page.evaluate(ASK, [base64.b64encode(content).decode() for content in contents]))

    for number, (expected, answer) in enumerate(zip(predicted, served, strict=True)):
        probabilities = np.array(list(answer["probabilities"].values()))
        assert answer["class"] == expected["class"] == run.preparation.classes[seen[number].argmax()], number
        assert answer["probability"] == pytest.approx(expected["probability"], abs=1e-4), number
        assert np.abs(seen[number] - probabilities).max() < 1e-4, number
