"""The page of a run on images, in a browser: what one sees and does on it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unroll
from unroll.evaluation.predict_files import Sure, predict_files
from unroll.export import export_html
from unroll.runs.data import load_test
from unusual_cells import FourParts

pytest_plugins = ["browser"]

Visit = Callable[..., Any]
STEPS = 28
# Each bar's name, value and exact length, in one question.
BARS = """() => [...document.querySelectorAll("#bars li")].map((bar) =>
    [bar.innerText, bar.querySelector(".fill").style.transform])"""
OTHERS: dict[str, dict[str, Any]] = {
    "gru by columns": {"cell": "gru", "read": "columns"},
    "two LSTMs both ways": {"cell": "lstm", "num_layers": 2, "bidirectional": True},
    "mingru by shuffled pixels": {"cell": "mingru", "read": "permuted"},
    "lru by pixels": {"cell": "lru", "read": "pixels"},
    "two layers of one's own": {"cell": FourParts, "num_layers": 2},
}


@pytest.fixture(scope="module")
def file(run: unroll.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the default run."""
    return export_html(run, load_test(run), tmp_path_factory.mktemp("pages") / "first.html").path


@pytest.fixture
def page(visit: Visit, file: Path) -> Any:
    return visit(file)


@pytest.fixture
def moving(visit: Visit, file: Path) -> Any:
    """The page that plays by itself."""
    return visit(file, reduced_motion="no-preference")


def draw(page: Any, *strokes: list[tuple[float, float]], lift: bool = True) -> None:
    """Draw lines on the sheet, through places given as shares of its width and height."""
    sheet = page.locator(".pad")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=6)
        if lift:
            page.mouse.up()


ONE = [(0.55, 0.15), (0.47, 0.85)]


def go(page: Any, position: int) -> None:
    """Move the slider to where so many steps have been read."""
    page.locator("#scrub").evaluate(
        "(slider, position) => { slider.value = position; slider.dispatchEvent(new Event('input')); }", position
    )


def bars_at(page: Any, positions: Iterable[int]) -> list[Any]:
    """`BARS` after so many steps, for each of several numbers of them."""
    move = "slider.value = position; slider.dispatchEvent(new Event('input'));"
    each = f"(position) => {{ {move} return ({BARS})(); }}"
    return list(page.locator("#scrub").evaluate(f"(slider, positions) => positions.map({each})", list(positions)))


def position(page: Any) -> int:
    return int(page.locator("#scrub").input_value())


def first(page: Any) -> str:
    """The class that leads now."""
    return str(page.locator("#bars .first .name").text_content())


def until_read(page: Any) -> None:
    """Wait until it has played to the end since a person last did something; it plays faster than for people."""
    page.evaluate("Player.SEQUENCE_MS = 500")
    page.wait_for_function("() => /playing,still$/.test(notes)")


def columns(page: Any, number: int = 0) -> list[bool]:
    """Of each step whether a heat map shows something there."""
    return list(
        page.locator("#heat canvas")
        .nth(number)
        .evaluate(
            f"""(map) => {{
                const copy = document.createElement("canvas");
                [copy.width, copy.height] = [map.width, 1];
                const context = copy.getContext("2d", {{ willReadFrequently: true }});
                context.drawImage(map, 0, -Math.floor(map.height / 2));
                const line = context.getImageData(0, 0, map.width, 1).data;
                const middle = (step) => Math.floor(((step + 0.5) / {STEPS}) * map.width);
                return Array.from({{length: {STEPS}}}, (_, step) => line[4 * middle(step) + 3] > 0);
            }}"""
        )
    )


def pixels(page: Any) -> bytes:
    """What the picture of pixels looks like."""
    address = page.locator(".pixels").evaluate("(canvas) => canvas.toDataURL()")
    return base64.b64decode(address.split(",")[1])


def drop(page: Any, name: str, kind: str, content: bytes) -> None:
    """Drop a file onto the page, as a person does from a file manager."""
    transfer = page.evaluate_handle(
        """([name, type, content]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
            transfer.items.add(new File([bytes], name, { type }));
            return transfer;
        }""",
        [name, kind, base64.b64encode(content).decode()],
    )
    for event in ("dragover", "drop"):
        page.dispatch_event("main", event, {"dataTransfer": transfer})


def png(digit: np.ndarray) -> bytes:
    """A picture with the digit in a corner, dark on light, larger than the model sees it."""
    sheet = Image.new("L", (150, 130), 255)
    sheet.paste(Image.fromarray(255 - digit).resize((90, 90), Image.Resampling.BICUBIC), (55, 3))
    buffer = io.BytesIO()
    sheet.save(buffer, "png")
    return buffer.getvalue()


def test_a_drawn_one_is_read_row_by_row_and_the_answer_moves(moving: Any) -> None:
    page = moving
    draw(page, ONE)
    assert first(page) == "1"  # at once, while nothing plays yet
    until_read(page)
    assert position(page) == STEPS
    assert first(page) == "1"
    page.locator("#scrub").press("Home")
    seen = [page.evaluate(BARS)]
    for _ in range(STEPS):
        page.get_by_role("button", name="One step forward").click()
        seen.append(page.evaluate(BARS))
    assert page.locator("#scrub").get_attribute("aria-valuetext") == "after row 28 of 28"
    assert len({str(bars) for bars in seen}) > 8  # it changes its mind on the way
    for read in (20, 12, 5):
        go(page, read)
        assert page.evaluate(BARS) == seen[read]
        assert page.locator("#where").text_content() == f"After row {read} of 28"


def test_the_answer_is_there_while_one_draws(page: Any) -> None:
    draw(page, ONE, lift=False)
    page.wait_for_function("() => document.querySelector('#bars .first .name').textContent === '1'")
    assert page.locator("#where").text_content() in ("After row 28 of 28", "As you draw")  # on a slow machine
    page.mouse.up()


# Since when the answer stands, which depends on the weights.
DECIDED = (
    r"(It answers \d from the first row on|It has answered \d since row \d+, the dotted line)"
    r"; at the end it is .{1,8} sure\."
    r"|It only decides at the very end: row 28 makes it answer \d, .{1,8} sure\."
)


def test_the_curves_and_the_heat_map_fill_as_it_reads(page: Any) -> None:
    page.get_by_role("button", name="Sample 4: a real 3").click()
    for read in (0, 1, 14, STEPS):
        go(page, read)
        hint = page.locator("#curves-hint").text_content()
        assert re.fullmatch(DECIDED, hint) if read == STEPS else hint == page.evaluate("App.CURVES")
        assert columns(page) == [step < read for step in range(STEPS)]
        width = page.locator("#curves").evaluate("(box) => box.querySelector('.plot').clientWidth")
        cover = float(page.locator("#curves clipPath rect").evaluate("(rect) => rect.style.width").removesuffix("px"))
        assert cover == pytest.approx(width * read / STEPS, abs=0.5)


def test_pointing_at_a_cell_tells_its_number_and_pressing_goes_there(page: Any) -> None:
    page.get_by_role("button", name="Sample 4: a real 3").click()
    go(page, 20)
    heat = page.locator("#heat canvas")
    place = {"x": 10.6 / STEPS * heat.bounding_box()["width"], "y": 20}
    heat.hover(position=place)
    assert re.fullmatch(r"unit \d+, row 11: −?[01]\.\d\d", page.locator(".tip").text_content())
    heat.click(position=place)
    assert position(page) == 11
    heat.focus()
    before = heat.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowDown")
    assert heat.get_attribute("aria-valuetext") != before


@pytest.mark.parametrize("way", ["dropped", "chosen"])
def test_a_picture_is_read_as_predict_reads_it(way: str, page: Any, run: unroll.Run, tmp_path: Path) -> None:
    test = unroll.load("mnist-sample").test
    number = int((test.y == 7).nonzero()[0, 0])
    content = png(test.preparation.image.images(test.x[number : number + 1])[0].numpy())
    path = tmp_path / "seven.png"
    path.write_bytes(content)
    expected = predict_files(run.model, run.preparation, [path], Sure(run.calibration))[0]
    if way == "dropped":
        drop(page, "seven.png", "image/png", content)
    else:
        page.locator("#file").set_input_files(path)
    page.wait_for_function("() => document.querySelector('.made').textContent.includes('cropped')")
    go(page, STEPS)
    assert first(page) == expected.label
    shown = page.locator("#bars .first .value").text_content()
    assert shown == (
        ">\u202f99\u202f%" if expected.probability >= 0.995 else f"{expected.probability:.0%}".replace("%", "\u202f%")
    )


UNREADABLE = "must be a picture that this browser can read, such as a PNG or JPEG file"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"not a picture", f"notes.txt {UNREADABLE}"),
        ("half.png", None, f"half.png {UNREADABLE}"),
        ("blank.png", b"", "blank.png: the picture shows nothing: all its pixels have about the same colour"),
    ],
)
def test_a_file_that_is_no_picture_changes_nothing(name: str, content: bytes | None, message: str, page: Any) -> None:
    page.get_by_role("button", name="Sample 4: a real 3").click()
    go(page, STEPS)
    before = page.evaluate(BARS)
    if content is None:
        content = png(np.eye(28, dtype=np.uint8) * 255)[:60]
    elif not content:
        buffer = io.BytesIO()
        Image.new("L", (40, 50), 200).save(buffer, "png")
        content = buffer.getvalue()
    drop(page, name, "text/plain" if name.endswith("txt") else "image/png", content)
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").text_content() == message
    assert page.evaluate(BARS) == before
    assert position(page) == STEPS


def test_a_changed_pixel_changes_what_is_read_after_it_alone(page: Any) -> None:
    page.get_by_role("button", name="Sample 4: a real 3").click()
    before = bars_at(page, range(STEPS + 1))
    box = page.locator(".pixels").bounding_box()
    for column in range(8, 20):  # of row 15
        page.mouse.click(box["x"] + (column + 0.5) / 28 * box["width"], box["y"] + 14.5 / 28 * box["height"])
    assert position(page) == STEPS
    changed = [now != then for now, then in zip(bars_at(page, range(STEPS + 1)), before, strict=True)]
    assert not any(changed[:15])
    assert any(changed[15:])
    assert page.locator("#curves .ghost").count() > 0
    moved = page.locator("#moved .bar").get_attribute("d")
    assert len(moved.split("z")) - 1 == STEPS - 14
    page.get_by_role("button", name="Forget the comparison").click()
    assert page.locator("#curves .ghost").count() == 0
    assert not page.locator("#comparison").is_visible()


def test_with_the_keyboard_alone(moving: Any) -> None:
    page = moving

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if name in (page.evaluate("() => document.activeElement.getAttribute('aria-label') ?? ''")):
                return
        raise AssertionError(f"no tab leads to {name}")

    tab_to("Sample 8: a real 7")
    page.keyboard.press("Enter")
    page.wait_for_function("() => notes.at(-1) === 'playing'")
    page.keyboard.press("End")
    assert position(page) == STEPS
    before = page.evaluate(BARS)
    tab_to("What the model sees")
    page.keyboard.press("ArrowDown")  # the cursor appears in the middle
    for _ in range(6):
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowDown")
    assert position(page) == STEPS
    assert page.evaluate(BARS) != before
    assert re.fullmatch("row 21, column 15: (ink|paper)", page.locator(".grid .unseen").text_content())
    tab_to("Play")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert position(page) == STEPS - 2
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    until_read(page)
    status = page.locator("#status")
    page.wait_for_function("() => document.getElementById('status').textContent.startsWith('after row 28 of 28: ')")
    assert re.fullmatch(r"after row 28 of 28: \d, .*%", status.text_content())


def test_a_digit_can_be_drawn_with_keys_from_nothing(page: Any) -> None:
    page.get_by_role("button", name="Clear").click()
    assert page.get_by_role("button", name="Play").is_disabled()
    page.locator(".pixels").focus()
    page.keyboard.press("ArrowUp")
    for _ in range(8):
        page.keyboard.press("ArrowUp")
    for _ in range(16):
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")
    assert position(page) == STEPS
    assert first(page) == "1"


def test_on_an_empty_page_keys_do_nothing(moving: Any) -> None:
    page = moving
    until_read(page)
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("heading", name="Watch it read").click()  # so that no control is in focus
    for key in ("ArrowRight", "ArrowLeft", "Home", "End", "Space"):
        page.keyboard.press(key)
    slider = page.locator("#scrub")
    assert slider.is_disabled()
    assert (position(page), slider.get_attribute("aria-valuetext")) == (0, "nothing to read yet")
    assert slider.evaluate("(slider) => slider.style.getPropertyValue('--done')") == "0%"
    draw(page, ONE)
    assert first(page) == "1"


def test_a_click_leaves_a_dot(page: Any) -> None:
    page.get_by_role("button", name="Clear").click()
    box = page.locator(".pad").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    assert page.locator(".input .made").text_content() != ""
    assert page.locator("#play").is_enabled()


def test_with_no_ink_nothing_mattered(page: Any) -> None:
    page.get_by_role("button", name="Clear").click()
    page.locator(".pixels").click()
    page.locator(".pixels").click()  # ink, and paper again
    page.get_by_role("button", name="What mattered?").click()
    page.get_by_text("There is no ink to erase.").wait_for()


def test_how_much_each_pixel_mattered(page: Any) -> None:
    page.get_by_role("button", name="Sample 4: a real 3").click()
    go(page, STEPS)
    plain = pixels(page)
    button = page.get_by_role("button", name="What mattered?")
    button.click()
    made = page.locator(".input .made")
    page.wait_for_function("() => document.querySelector('.input .made').textContent.includes('erased in turn')")
    assert re.search(r"in row \d+, column \d+, 3 would have \d+\.\d\d (less|more) evidence", made.text_content())
    overlay = pixels(page)
    assert overlay != plain
    page.locator("#target").select_option("8")
    page.wait_for_function("() => document.querySelector('.input .made').textContent.includes(', 8 would')")
    assert pixels(page) not in (plain, overlay)
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert pixels(page) == plain
    assert made.text_content() == "a sample from the test data"


def test_a_finger_draws_and_does_not_scroll(visit: Visit, file: Path) -> None:
    page = visit(file, phone=True)
    box = page.locator(".pad").bounding_box()
    finger = page.context.new_cdp_session(page)
    for n in range(20):
        place = {"x": box["x"] + box["width"] * (0.55 - 0.004 * n), "y": box["y"] + box["height"] * (0.1 + 0.025 * n)}
        kind = "touchMove" if n else "touchStart"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function("() => document.querySelector('#bars .first .name').textContent === '1'")
    assert page.evaluate("() => scrollY") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(scheme: str, visit: Visit, file: Path) -> None:
    page = visit(file, phone=True, color_scheme=scheme)
    draw(page, ONE)
    page.locator("#scrub").press("End")
    assert first(page) == "1"
    assert page.evaluate("() => document.scrollingElement.scrollWidth <= innerWidth")
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, select, .button, #scrub")]
            .filter((control) => control.offsetParent)
            .filter((control) => control.offsetHeight < 40 || control.offsetWidth < 40)
            .map((control) => control.outerHTML)"""
    )
    assert small == []


def test_at_the_start_it_reads_a_sample_and_the_page_stays_where_it_is(visit: Visit, file: Path) -> None:
    page = visit(file, phone=True, reduced_motion="no-preference")
    until_read(page)
    assert position(page) == STEPS
    assert page.evaluate("() => scrollY") == 0
    page.get_by_role("button", name="Sample 4: a real 3").click()  # a person's: now the answer comes into view
    until_read(page)
    page.wait_for_function(
        """() => {
            const [bars, player] = ["bars", "player"].map((id) => document.getElementById(id).getBoundingClientRect());
            return bars.bottom < player.top;
        }"""
    )


def test_dark_and_light(visit: Visit, file: Path) -> None:
    page = visit(file, color_scheme="dark")
    page.get_by_role("button", name="Sample 4: a real 3").click()
    paper = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    heat = "() => document.querySelector('#heat canvas').toDataURL()"
    dark, dark_heat, dark_pixels = page.evaluate(paper), page.evaluate(heat), pixels(page)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(paper)
    assert max(dark) < 60
    assert min(light) > 200
    page.wait_for_function(f"(before) => ({heat})() !== before", arg=dark_heat)
    assert pixels(page) != dark_pixels


def test_with_reduced_motion_nothing_starts_by_itself(visit: Visit, file: Path) -> None:
    page = visit(file)
    draw(page, ONE)
    assert position(page) == STEPS
    page.wait_for_timeout(900)  # longer than the pause after which it would play
    assert position(page) == STEPS
    page.get_by_role("button", name="Play").click()
    assert page.locator("#bars .fill").first.evaluate("(fill) => getComputedStyle(fill).transitionDuration") == "0s"
    page.get_by_role("button", name="Pause").click()


def test_every_control_has_a_name(page: Any) -> None:
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "combobox", "application", "img", "link", "textbox", "listbox", "checkbox"}
    found = [node for node in nodes if not node.get("ignored") and node.get("role", {}).get("value") in roles]
    assert len(found) > 25
    unnamed = [node["role"]["value"] for node in found if not node.get("name", {}).get("value", "").strip()]
    assert unnamed == []


def test_a_browser_from_before_2025_decodes_the_same(page: Any) -> None:
    content = bytes(range(256))
    decoded = "(text) => Array.from(decode.bytes(text))"
    page.evaluate("() => { Uint8Array.fromBase64 = undefined; }")
    assert page.evaluate(decoded, base64.b64encode(content).decode()) == list(content)


def test_it_says_what_it_is_and_how_it_was_checked(page: Any, run: unroll.Run) -> None:
    facts = page.locator("#facts").text_content()
    assert f"1,000 test pictures of mnist-sample is {100 * run.evaluation['accuracy']:.1f}\u202f%." in facts
    assert re.search(r"compared with PyTorch's on 100 real pictures: they agree within 0\.0[\d\u202f]*\.", facts)
    assert "from MNIST by Y. LeCun" in facts
    assert page.title() == "first – watch it read" if run.path.name == "first" else "watch it read" in page.title()


def test_photographs_are_resized_as_a_whole(visit: Visit, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, low in (("day", 140), ("night", 20)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            photo = random.integers(low, low + 90, (12, 16)).astype(np.uint8)
            Image.fromarray(photo).save(tmp_path / "photos" / name / f"{number}.png")
    run = unroll.train_run(str(tmp_path / "photos"), out=tmp_path / "run", hidden_size=8, epochs=20, lr=0.01)
    page = visit(export_html(run, load_test(run), tmp_path / "page.html").path)
    assert page.locator("#scrub").get_attribute("max") == "12"
    buffer = io.BytesIO()
    Image.fromarray(random.integers(150, 220, (60, 80)).astype(np.uint8)).save(buffer, "png")
    drop(page, "noon.png", "image/png", buffer.getvalue())
    page.wait_for_function("() => document.querySelector('.input .made').textContent === 'resized to 16×12'")
    assert first(page) == "day"
    page.get_by_role("button", name="What mattered?").click()
    page.wait_for_function("() => document.querySelector('.input .made').textContent.includes('erase')")
    draw(page, [(0.1, 0.5), (0.9, 0.5)])
    assert page.locator(".input .made").text_content() == "resized to 16×12"


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Pages of other models, with the weights that they begin with."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("others")
        settings = dict(OTHERS[name])
        data = unroll.load("mnist-sample", read=settings.pop("read", "rows")).train
        model = unroll.SequenceClassifier(data.input_size, 10, hidden_size=10, **settings)
        unroll.save(model, folder / "run", data=data)
        run = unroll.load_run(folder / "run")
        test = load_test(run, "mnist-sample")
        two = [int((test.sequences.y == label).nonzero()[0, 0]) for label in (0, 1)]  # as each is compared with PyTorch
        test = test._replace(sequences=test.sequences.subset(torch.tensor(two)))
        return export_html(run, test, folder / "page.html").path

    return make


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_read_too(name: str, others: Callable[[str], Path], visit: Visit) -> None:
    page = visit(others(name))
    time = int(page.locator("#scrub").get_attribute("max"))
    assert time == (784 if "pixels" in name else 28)
    assert columns(page)[0]
    page.get_by_role("button", name="Sample 2: a real 1").click()
    parts = page.locator("#part option").all_text_contents()
    assert len(parts) > 2
    plain = page.locator("#heat canvas").first.evaluate("(map) => map.toDataURL()")
    for part in parts[1:]:
        page.locator("#part").select_option(label=part)
        assert page.locator("#heat canvas").first.evaluate("(map) => map.toDataURL()") != plain
    go(page, time // 2)
    if "both ways" in name:
        assert columns(page) == [step < 14 for step in range(STEPS)]
        assert columns(page, 1) == [step >= 14 for step in range(STEPS)]
        page.locator("#layer").select_option("1")
    else:
        assert columns(page) == [step < 14 for step in range(STEPS)]
    box = page.locator(".pixels").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.7)
    assert page.locator("#comparison").is_visible()
    assert position(page) == time // 2


def test_a_cell_of_ones_own_shows_the_names_in_its_step(others: Callable[[str], Path], visit: Visit) -> None:
    page = visit(others("two layers of one's own"))
    assert "Two layers of 10 FourParts units" in page.locator("#facts").text_content()
    options = ["hidden state", "h", "sigmoid", "tanh", "slow", "mean", "traces"]
    assert page.locator("#part option").all_text_contents() == options
    canvas = page.locator("#heat canvas")
    for part, rows in (("slow", 6), ("mean", 1), ("traces", 20)):
        page.locator("#part").select_option(label=part)
        assert canvas.get_attribute("aria-valuemax") == str(rows)
        assert page.locator("#heat-hint").text_content().startswith(f"Each row is one of the {rows} numbers of layer 1")
        canvas.focus()
        for _ in range(8):
            page.keyboard.press("ArrowDown")
        assert canvas.get_attribute("aria-valuenow") == str(min(9, rows))
        assert re.fullmatch(r"unit \d+, row 28: .*", canvas.get_attribute("aria-valuetext"))
    page.locator("#part").select_option(label="sigmoid")
    assert page.locator("#heat-key").text_content() == "01"
