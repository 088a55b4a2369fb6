"""How the page turns a picture that is not stored upright, without a browser; beside what Pillow does."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import py_mini_racer
import pytest
from PIL import Image, ImageOps

from unroll.page import script as joined

STORED = np.arange(12, dtype=np.uint8).reshape(3, 4)  # (height, width)
Script = Callable[[str], Any]


@pytest.fixture(scope="module")
def script() -> Iterator[Script]:
    """Run JavaScript that reads orientations, return plain types."""
    with py_mini_racer.mini_racer() as context:
        context.eval(joined("inputs/orientation.js", "engine/decode.js"))
        yield lambda code: json.loads(context.eval(f"JSON.stringify({code})"))


def saved(form: str, exif: bytes | None = None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(STORED).convert("RGB").save(file, form, lossless=True, **({} if exif is None else {"exif": exif}))
    return file.getvalue()


def exif_of(orientation: int, order: str = "little") -> bytes:
    """EXIF data with two entries, the second one the orientation."""
    number = lambda value, size: value.to_bytes(size, order)  # noqa: E731
    mark = b"II" if order == "little" else b"MM"
    entries = [(0x0100, 4), (0x0112, orientation)]
    made = b"".join(
        number(tag, 2) + number(3, 2) + number(1, 4) + number(value, 2) + bytes(2) for tag, value in entries
    )
    return mark + number(42, 2) + number(8, 4) + number(2, 2) + made + bytes(4)


def taken(script: Script, content: bytes) -> Any:
    return script(
        f"""(() => {{
          const {{ bytes, orientation }} = Orientation.takenFrom(decode.bytes("{base64.b64encode(content).decode()}"));
          return {{ bytes: Array.from(bytes), orientation }};
        }})()"""
    )


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_webp_file_is_found_and_taken_out(script: Script, order: str, orientation: int) -> None:
    content = saved("WEBP", exif_of(orientation, order))
    found = taken(script, content)
    assert found["orientation"] == orientation
    with Image.open(io.BytesIO(bytes(found["bytes"]))) as plain:
        assert plain.getexif()[0x0112] == 1
        assert np.array_equal(np.asarray(plain)[..., 0], STORED)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_pillow_turns_it(script: Script, orientation: int) -> None:
    with Image.open(io.BytesIO(saved("WEBP", exif_of(orientation)))) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))[..., 0]
    height, width = STORED.shape
    size = script(f"Orientation.size({orientation}, {{width: {width}, height: {height}}})")
    a, b, c, d, e, f = script(f"Orientation.transform({orientation}, {{width: {width}, height: {height}}})")
    turned = np.full((size["height"], size["width"]), 255, np.uint8)
    for (y, x), value in np.ndenumerate(STORED):
        middle = x + 0.5, y + 0.5
        turned[int(b * middle[0] + d * middle[1] + f), int(a * middle[0] + c * middle[1] + e)] = value
    assert np.array_equal(turned, expected)


def test_a_file_without_an_orientation_stays_as_it_is(script: Script) -> None:
    webp = saved("WEBP")
    for content in (b"", b"RIFF", saved("PNG", exif_of(6)), webp, webp[:20], saved("WEBP", exif_of(9)[:20])):
        assert taken(script, content) == {"bytes": list(content), "orientation": 1}
    assert taken(script, saved("WEBP", exif_of(9)))["orientation"] == 1  # there is no ninth
