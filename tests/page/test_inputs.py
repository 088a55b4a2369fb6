"""The pages of runs on texts and on series, in a browser: words that light up, curves that are drawn."""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from test_page import drop, first, go, position, until_read

import unroll
from unroll.data.formats.image_file import prepare_image
from unroll.evaluation.predict_files import predict_files
from unroll.export import export_html
from unroll.runs.data import load_test

pytest_plugins = ["browser"]

Visit = Callable[..., Any]
GOOD = ["a fine film", "a good and fine play", "good fun", "what a fine day", "truly good", "fine!"]
BAD = ["a bad film", "dull and bad", "what a bore", "truly bad play", "bad, bad, bad", "a dull day"]
STEPS = 16
SMALL: dict[str, Any] = {"epochs": 12, "batch_size": 8, "hidden_size": 12, "cell": "gru"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run that tells good words from bad ones."""
    folder = tmp_path_factory.mktemp("texts")
    lines = [
        f"{text}{' indeed' * n}\t{label}"
        for n in range(8)
        for good, bad in zip(GOOD, BAD, strict=True)
        for text, label in ((good, "good"), (bad, "bad"))
    ]
    (folder / "films.tsv").write_text("\n".join(["sentence\tlabel", *lines, ""]), "utf-8")
    run = unroll.train_run(str(folder / "films.tsv"), out=folder / "run", ngram_buckets=512, **SMALL)
    return export_html(run, load_test(run)).path


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run on two features, of which the first rises or falls, with gaps."""
    folder = tmp_path_factory.mktemp("series")
    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 20)):
        with open(folder / f"waves_{part}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "time", "level", "noise", "label"])
            for number in range(count):
                slope = (number % 2) - 0.5
                for time in range(STEPS):
                    level = 4 * slope * (time / STEPS - 0.5) + random.normal(0, 0.1)
                    gap = number % 4 == 3 and time and random.random() < 0.1
                    label = "rising" if slope > 0 else "falling"
                    writer.writerow([number, time, "" if gap else level, random.normal(0, 1), label])
    run = unroll.train_run(str(folder / "waves_train.csv"), out=folder / "run", **SMALL)
    return export_html(run, load_test(run)).path


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run on one feature, of bytes, of which none can be missing, by a model that reads forwards."""
    folder = tmp_path_factory.mktemp("bytes")
    random = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = random.integers(0, 100, (60, STEPS, 1)) + 120 * y[:, None, None]
    np.savez(folder / "waves.npz", x=x.astype(np.uint8), y=y)
    forwards = {"bidirectional": False, "stem": "none"}
    run = unroll.train_run(str(folder / "waves.npz"), out=folder / "run", **forwards, **SMALL)
    return export_html(run, load_test(run)).path


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> unroll.Run:
    """A run on images that are red or green, of one brightness, and its page."""
    folder = tmp_path_factory.mktemp("colours")
    y = np.arange(40) % 2
    noise = np.random.default_rng(0).integers(-30, 30, (40, 10, 12, 1))
    x = np.array([(200, 40, 40), (40, 121, 40)])[y][:, None, None] + noise
    np.savez(folder / "colours.npz", x=x.astype(np.uint8), y=y, classes=["red", "green"])
    run = unroll.train_run(str(folder / "colours.npz"), out=folder / "run", val_fraction=0, **SMALL)
    assert export_html(run, load_test(run)).difference < 1e-5
    return run


@pytest.fixture
def text(visit: Visit, texts: Path) -> Any:
    """The page of texts, which shows them as read at once, and takes any typing to be over."""
    page = visit(texts)
    page.evaluate("SentenceInput.PAUSE = 0")
    return page


@pytest.fixture
def curve(visit: Visit, series: Path) -> Any:
    """The page of series, which shows them as read at once."""
    return visit(series)


def changed(page: Path, to: Path, **parts: Any) -> Path:
    """Write a page whose description has other parts; of one that is an object only what is named differs."""
    before, mark, rest = page.read_text("utf-8").partition('id="description">')
    content, end, behind = rest.partition("</script>")
    description = json.loads(content)
    for name, part in parts.items():
        description[name] = description[name] | part if isinstance(part, dict) else part
    to.write_text("".join((before, mark, json.dumps(description).replace("<", "\\u003c"), end, behind)), "utf-8")
    return to


def read_at_most(most: int, window: int | None = None) -> dict[str, Any]:
    return {"time_steps": {"time_step": None, "every": 1, "max_length": most, "window": window}}


def steps(page: Any) -> int:
    return int(page.locator("#scrub").get_attribute("max"))


def until_at(page: Any, steps: int) -> None:
    """Wait until so many steps have been read, of so many: on a busy machine, once the typing has paused."""
    page.wait_for_function(
        "(steps) => ['value', 'max'].every((name) => +document.querySelector('#scrub')[name] === steps)",
        arg=steps,
    )


def words(page: Any, which: str = "") -> list[str]:
    """The words that are shown, or those of a kind."""
    return list(page.locator(f".passage .word{which}").all_text_contents())


def refused(page: Any, name: str, content: bytes, message: str) -> None:
    """Drop a file that cannot be read; what was there stays."""
    before = page.locator("#bars").inner_text()
    drop(page, name, "", content)
    page.locator("#error", has_text=name).wait_for()
    assert re.fullmatch(message, page.locator("#error").inner_text())
    assert page.locator("#bars").inner_text() == before


def draw(page: Any, *places: tuple[float, float], lift: bool = True) -> None:
    """Draw through places of the plot, given as shares of its width and height."""
    page.locator(".lines").scroll_into_view_if_needed()
    box = page.locator(".lines .ground").bounding_box()
    for number, (x, y) in enumerate(places):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
        if not number:
            page.mouse.down()
    if lift:
        page.mouse.up()


def test_a_sentence_lights_up_word_by_word_to_its_class(visit: Visit, texts: Path) -> None:
    page = visit(texts, reduced_motion="no-preference")
    page.get_by_role("textbox", name="The text to read").fill("What a fine, fine film")
    assert first(page) == "good"  # at once, while nothing plays yet
    assert words(page) == ["What", "a", "fine", ",", "fine", "film"]
    until_read(page)
    assert (position(page), first(page)) == (6, "good")
    page.locator("#scrub").press("Home")
    assert words(page, ".read") == []
    for read in range(1, 7):
        page.get_by_role("button", name="One step forward").click()
        assert words(page, ".read") == words(page)[:read]
        assert words(page, "[aria-current]") == [words(page)[read - 1]]
    assert page.locator("#where").inner_text() == "After the word “film”, 6 of 6"
    page.get_by_role("textbox").fill("dull and bad")
    assert first(page) == "bad"


def test_a_word_left_out_is_compared_and_comes_back(text: Any) -> None:
    page = text
    page.get_by_role("textbox").fill("a bad film")
    until_at(page, 3)
    bars = page.locator("#bars").inner_text()
    assert page.locator(".ghost").count() == 0
    page.locator(".passage .word", has_text="bad").click()
    assert (steps(page), words(page, "[aria-pressed=true]")) == (2, ["bad"])
    assert page.locator(".input h2", has_text="What it reads: 2 words").count() == 1
    assert page.locator(".ghost").count() == 2
    assert page.locator("#bars").inner_text() != bars
    go(page, 2)
    assert words(page, "[aria-current]") == ["film"]  # the word that is left out is no step
    page.get_by_role("button", name="Put all back").click()
    go(page, 3)
    assert words(page, "[aria-pressed=true]") == []
    assert page.locator("#bars").inner_text() == bars
    for word in range(3):
        page.locator(".passage .word").nth(word).click()
    assert page.locator("#where").inner_text() == "Nothing to read yet"
    assert page.locator("#mattered").is_disabled()


def test_what_is_not_in_the_vocabulary_is_marked(text: Any) -> None:
    page = text
    legend = page.locator(".legend", has_text="not in the vocabulary")
    page.get_by_role("textbox").fill("a good film")
    assert (words(page, ".unknown"), legend.count()) == ([], 0)
    page.get_by_role("textbox").fill("a Zyxgh film 👍 ½")  # ½ is three tokens, and one word
    assert (words(page), words(page, ".unknown")) == (["a", "Zyxgh", "film", "👍", "½"], ["Zyxgh", "👍", "½"])
    assert legend.is_visible()
    assert page.get_by_role("button", name="Zyxgh, not in the vocabulary").count() == 1
    until_at(page, 7)
    page.get_by_role("textbox").fill("  ")
    assert page.locator("#where").inner_text() == "Nothing to read yet"


def test_what_mattered_is_shown_with_more_than_colour(text: Any) -> None:
    page = text
    page.get_by_role("textbox").fill("what a good and bad play")
    until_at(page, 6)
    page.locator("#target").select_option("good")
    page.get_by_role("button", name="What mattered?").click()
    page.locator(".passage .weighed").nth(5).wait_for()
    assert "good" in words(page, ".weighed:not(.opposed)")
    assert "bad" in words(page, ".opposed")
    assert re.fullmatch(r"good: \d\.\d\d, for good", page.locator(".passage .word").nth(2).get_attribute("title"))
    good, bad = (page.locator(".passage .word", has_text=word) for word in ("good", "bad"))
    shadows = [word.evaluate("(word) => getComputedStyle(word).boxShadow") for word in (good, bad)]
    assert [re.search(r"0px (-?)\dpx", shadow)[1] for shadow in shadows] == ["", "-"]  # type: ignore[index]
    assert page.locator(".legend", has_text="without it, less sure of good").is_visible()
    page.get_by_role("button", name="What mattered?").click()
    assert words(page, ".weighed") == []
    assert not page.locator(".legend").is_visible()


def test_texts_by_keys_alone(text: Any) -> None:
    page = text
    page.get_by_role("textbox").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("a bad film")
    until_at(page, 3)
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "a"  # of all words, one stop
    page.keyboard.press("ArrowRight")
    assert position(page) == 3  # the player leaves these keys to the words
    page.keyboard.press("Delete")
    assert words(page, "[aria-pressed=true]") == ["bad"]
    page.keyboard.press("Enter")
    assert words(page, "[aria-pressed=true]") == []
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert words(page, "[aria-pressed=true]") == ["film"]
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "mattered"


def test_files_of_text_are_read_or_refused_in_a_line(text: Any) -> None:
    page = text
    drop(page, "fine.txt", "", "\ufeffTruly fine,\r\ngood fun\n".encode())
    page.locator(".passage .word", has_text="Truly").wait_for()
    assert page.get_by_role("textbox").input_value() == "Truly fine,\ngood fun"
    assert first(page) == "good"
    refused(page, "p.png", b"\x89PNG\r\n\x1a\n\0", r"p\.png: expected a text in UTF-8")
    refused(page, "nul.txt", b"a\0b", r"nul\.txt: expected a text in UTF-8")
    refused(page, "blank.txt", b" \n", r"blank\.txt must contain at least one word, got none")
    refused(page, "book.txt", b"word " * 5000, r"book\.txt may have at most 20,000 characters, got more")


def test_a_text_that_is_too_long_to_be_typed_is_refused_as_a_file_is(text: Any) -> None:
    page = text
    field = page.get_by_role("textbox")
    field.fill("good " * 4000)
    until_at(page, 4000)
    field.fill("good " * 4000 + "!")
    page.locator("#error", has_text="The text may have at most 20,000 characters, got more").wait_for()
    assert page.locator("#where").inner_text() == "Nothing to read yet"
    assert field.input_value().endswith("!")
    field.fill("good")
    until_at(page, 1)
    assert not page.locator("#error").is_visible()


def test_a_text_of_which_the_model_reads_the_beginning_says_so(visit: Visit, texts: Path, tmp_path: Path) -> None:
    page = visit(changed(texts, tmp_path / "short.html", preparation=read_at_most(3)))
    cut = page.locator(".legend", has_text="The first 3 of 4 words are read, as unroll predict does.")
    page.get_by_role("textbox").fill("a very good film")
    until_at(page, 3)
    cut.wait_for()
    page.get_by_role("textbox").fill("a good film")
    cut.wait_for(state="detached")


def test_two_thousand_words_stay_usable(text: Any) -> None:
    page = text
    drop(page, "long.txt", "", b"a fine but dull day , " * 333)
    page.locator(".input h2", has_text="1,998 words").wait_for()
    assert steps(page) == 1998
    box = page.locator(".passage")
    assert box.bounding_box()["height"] < 300
    for read in (1998, 0):  # the line stays in sight
        go(page, read)
        frame, word = box.bounding_box(), page.locator(".passage .word").nth(max(0, read - 1)).bounding_box()
        assert frame["y"] <= word["y"] <= frame["y"] + frame["height"] - word["height"] / 2


def test_real_texts_show_how_they_begin_and_their_class(text: Any) -> None:
    page = text
    samples = page.locator("#samples button")
    number = samples.locator("small", has_text="bad").first.evaluate(
        "(label) => [...document.querySelectorAll('#samples button')].indexOf(label.closest('button'))"
    )
    samples.nth(number).click()
    begins = samples.nth(number).locator(".excerpt span").inner_text()
    assert page.get_by_role("textbox").input_value().startswith(begins.rstrip("…"))
    assert samples.nth(number).get_attribute("aria-pressed") == "true"
    page.locator(".passage .word").first.click()
    assert samples.nth(number).get_attribute("aria-pressed") == "false"


def test_a_curve_that_is_drawn_is_read_to_its_class(visit: Visit, series: Path) -> None:
    page = visit(series, reduced_motion="no-preference")
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#where").inner_text() == "Nothing to read yet"
    assert page.locator(".chart .hint").is_visible()
    draw(page, (0.01, 0.9), (0.99, 0.1), lift=False)
    assert first(page) == "rising"  # while the pen is down
    page.mouse.up()
    until_read(page)
    assert (position(page), first(page)) == (STEPS, "rising")
    assert page.locator(".ghost").count() == 0
    assert not page.locator(".chart .hint").is_visible()
    go(page, 0)
    start = page.locator(".chart .now").bounding_box()["x"]
    page.get_by_role("button", name="One step forward").click()
    assert page.locator(".chart .now").bounding_box()["x"] > start
    assert page.locator("#where").inner_text() == f"After time step 1 of {STEPS}"
    go(page, STEPS)
    draw(page, (0.01, 0.1), (0.99, 0.9))  # over what is there
    assert first(page) == "falling"
    assert page.locator(".ghost").count() == 2


def test_each_feature_is_drawn_for_itself(curve: Any) -> None:
    page = curve
    before = page.locator(".chart .own").get_attribute("d")
    page.get_by_role("button", name="noise").click()
    assert page.locator(".chart .other").get_attribute("d") == before
    draw(page, (0.1, 0.2), (0.9, 0.2))
    assert page.locator(".chart .other").get_attribute("d") == before
    assert page.get_by_role("button", name="noise").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="level").click()
    assert page.locator(".chart .own").get_attribute("d") == before


def test_series_by_keys_alone(curve: Any) -> None:
    page = curve
    chart = page.get_by_role("slider", name="Curve of level")
    chart.focus()
    page.keyboard.press("Home")
    value = re.compile(r"level, time step (\d+): (\u2212?[\d.e]+|missing)")
    say = lambda: value.fullmatch(chart.get_attribute("aria-valuetext")).groups()  # type: ignore[union-attr]  # noqa: E731
    number = lambda: float(say()[1].replace("\u2212", "-"))  # noqa: E731
    page.keyboard.press("ArrowRight")
    assert (say()[0], position(page)) == ("2", STEPS)
    values = [number()]
    for key in ("ArrowUp", "Shift+ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
        values.append(number())
    small, large, back = np.diff(values)
    assert small > 0
    assert large == pytest.approx(4 * small, rel=0.1)
    assert back == pytest.approx(-small, rel=0.1)
    assert page.locator(".ghost").count() == 2
    for _ in range(40):
        page.keyboard.press("Shift+ArrowDown")
    low = float(page.locator(".chart .mark").get_attribute("cy"))
    ground = page.locator(".chart .ground")
    assert low <= float(ground.get_attribute("y")) + float(ground.get_attribute("height"))


def test_gaps_are_gaps(curve: Any) -> None:
    page = curve
    drop(page, "full.csv", "", b"\n".join(b"%d,0" % n for n in range(5)))
    page.wait_for_function("() => document.getElementById('scrub').max === '5'")
    assert page.locator(".chart .own").get_attribute("d").count("M") == 1
    chart = page.get_by_role("slider", name="Curve of level")
    chart.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "Delete"):
        page.keyboard.press(key)
    assert chart.get_attribute("aria-valuetext") == "level, time step 3: missing"
    assert page.locator(".chart .own").get_attribute("d").count("M") == 2
    assert page.locator(".legend", has_text="Gaps").is_visible()
    page.keyboard.press("ArrowUp")
    assert chart.get_attribute("aria-valuetext") != "level, time step 3: missing"
    drop(page, "gaps.csv", "", b"level;noise\n1.5;0\nNA;1\n;2\n3;?\n")
    page.wait_for_function("() => document.getElementById('scrub').max === '4'")
    assert page.locator(".chart .own").get_attribute("d").count("M") == 2


def test_what_mattered_in_a_series(curve: Any) -> None:
    page = curve
    page.get_by_role("button", name="What mattered?").click()
    page.locator(".chart .weight").first.wait_for(state="attached")
    bars = page.locator(".chart .weight")
    assert bars.count() == STEPS
    assert re.fullmatch(
        r"time step 1: \u2212?\d\.\d\d, (for|against) (rising|falling)", bars.locator("title").first.text_content()
    )
    tops = {
        look: page.locator(f".chart .weight{look} rect:nth-child(2)").evaluate_all(
            "(all) => all.map((bar) => bar.getBBox().y)"
        )
        for look in (":not(.opposed)", ".opposed")
    }
    assert set(tops[":not(.opposed)"]) == {12}  # at the top, what speaks for it
    assert all(top > 150 for top in tops[".opposed"])
    assert page.locator(".legend", has_text="less sure of").is_visible()
    page.get_by_role("button", name="What mattered?").click()
    assert bars.count() == 0


def test_tables_are_read_or_refused_in_a_line(curve: Any) -> None:
    page = curve
    drop(page, "up.csv", "", b"time,noise,level\n" + b"\n".join(b"%d,0,%.2f" % (n, n / 5 - 2) for n in range(20)))
    page.wait_for_function("() => document.getElementById('scrub').max === '20'")
    assert first(page) == "rising"
    drop(page, "down.tsv", "", b"\n".join(b"%.2f\t0" % (2 - n / 5) for n in range(18)))
    page.wait_for_function("() => document.getElementById('scrub').max === '18'")
    assert first(page) == "falling"
    refused(page, "a.csv", b"1,2\n3\n", r"a\.csv, line 2: expected 2 numbers, one for each feature, got 1")
    refused(page, "b.csv", b"level,noise\n1,x\n", r"b\.csv, line 2, column noise: expected a number, got “x”")
    refused(page, "c.csv", b"a,b,c\n1,2,3\n", r"c\.csv has no columns “level”, “noise”: expected .*, got a, b, c")
    refused(page, "d.csv", b"", r"d\.csv must contain at least one row of numbers, got none")
    refused(page, "e.csv", b"level,noise\n", r"e\.csv must contain at least one row of numbers, got none")
    refused(page, "g.csv", b"1,2\n" * 5001, r"g\.csv may have at most 5,000 time steps, got 5,001")
    refused(page, "h.png", b"\x89PNG\0", r"h\.png: expected a table of numbers, a line for each time step, in UTF-8")
    refused(page, "i.csv", b"1,2\nInfinity,3\n", r"i\.csv, line 2, column level: expected a finite number, .*")
    series = b"".join(b"%d,%d,0,1\n" % (n, t) for n in range(2) for t in range(3))
    refused(page, "j.csv", b"id,time,level,noise\n" + series, r"j\.csv holds 2 series: the page reads one; .*")
    refused(page, "k.csv", b"time,level,noise\n1,0,1\n0,0,1\n", r"k\.csv, line 3, column time: the time goes back")


def test_of_bytes_none_is_missing(visit: Visit, bytewise: Path) -> None:
    page = visit(bytewise)
    assert page.get_by_role("button", name="feature").count() == 0
    drop(page, "row.csv", "", b"200, 220, 240, 210, 230\n")  # one feature may stand in a row
    page.wait_for_function("() => document.getElementById('scrub').max === '5'")
    assert first(page) == "1"
    refused(page, "f.csv", b"1\nNA\n", r"f\.csv: the value at time step 2 is missing, and the model .*")
    chart = page.get_by_role("slider", name="Curve of the values")
    chart.focus()
    for key in ("Home", "Delete"):
        page.keyboard.press(key)
    assert chart.get_attribute("aria-valuetext") == "time step 1: 200"


def test_a_page_of_windows_calls_them_windows_and_says_what_it_leaves_out(
    visit: Visit, series: Path, tmp_path: Path
) -> None:
    judged = {"accuracy": 0.9, "n": 30, "recordings": {"accuracy": 1.0, "n": 6}}
    page = visit(changed(series, tmp_path / "w.html", preparation=read_at_most(STEPS, STEPS), facts=judged))
    facts = page.locator("#facts").inner_text().replace("\u202f", " ")
    assert "Its accuracy on 30 test windows of waves_train.csv is 90.0 %, and on 6 recordings, each by" in facts
    assert "each by the mean of its windows, 100.0 %" in facts
    assert "real windows" in facts
    drop(page, "long.csv", "", b"\n".join(b"%d,0" % n for n in range(STEPS + 4)))
    page.locator(".legend", has_text=f"The first {STEPS} of {STEPS + 4} time steps are read; unroll predict").wait_for()
    drop(page, "short.csv", "", b"\n".join(b"%d,0" % n for n in range(STEPS)))
    page.locator(".legend", has_text="unroll predict").wait_for(state="detached")


def test_a_series_may_be_longer_or_shorter(visit: Visit, bytewise: Path) -> None:
    page = visit(bytewise)
    length = page.get_by_label("Time steps")
    assert length.input_value() == str(STEPS)
    for asked, got in (("30", 30), ("7", 7), ("0", 1), ("999999", 5000)):
        length.fill(asked)
        length.press("Enter")
        assert steps(page) == got
        assert length.input_value() == str(got)


@pytest.mark.parametrize("resample", [None, "5Hz"])
def test_a_table_that_is_too_fine_is_read_as_in_training(visit: Visit, tmp_path: Path, resample: str | None) -> None:
    rows = [
        "id,time,x,label",
        *(f"{n},{t / 10},{(t * (1 + n % 2)) % 7 + n / 100},{'ab'[n % 2]}" for n in range(24) for t in range(40)),
    ]
    (tmp_path / "d.csv").write_text("\n".join(rows))
    run = unroll.train_run(
        str(tmp_path / "d.csv"), resample=resample, every=2, max_length=15, out=tmp_path / "run", **SMALL
    )
    page = visit(export_html(run, load_test(run)).path)
    table = b"\n".join(b"%d" % ((t * 2) % 7) for t in range(40))
    if resample is not None:
        refused(page, "a.csv", table, "a.csv: the model reads values at a time step of 0.2, and this page does not .*")
        return
    drop(page, "a.csv", "", table)
    page.wait_for_function("() => document.getElementById('scrub').max === '15'")
    page.locator(
        ".legend", has_text="Each 2 time steps are read as one, their mean; the first 15 of 20 means"
    ).wait_for()
    expected = run.predict([[[(t * 2) % 7] for t in range(40)]])[0]
    assert first(page) == "ab"[int(expected.argmax())]
    page.get_by_label("Time steps").fill("99")
    page.get_by_label("Time steps").press("Enter")
    assert steps(page) == 15


def test_a_picture_in_colour_is_read_as_predict_reads_it(visit: Visit, colours: unroll.Run, tmp_path: Path) -> None:
    page = visit(colours.path / "page.html")
    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(1).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo)
    (expected,) = predict_files(colours.model, colours.preparation, [photo])
    drop(page, "photo.png", "image/png", photo.read_bytes())
    page.locator(".made", has_text="taken as it is").wait_for()
    go(page, 10)
    assert first(page) == expected.label
    fills = page.locator("#bars .fill").evaluate_all("(fills) => fills.map((fill) => fill.style.transform)")
    shown = sorted(float(re.sub(r"[^\d.e-]", "", fill.removeprefix("scaleX"))) for fill in fills)
    assert shown == pytest.approx(sorted(p for _, p in expected.top), abs=1e-5)
    page.get_by_role("button", name="What mattered?").click()
    page.locator(".made", has_text="Each pixel erased in turn").wait_for()


def pictures() -> dict[str, bytes]:
    """A photo stored in ways that programs like to change: with a gamma, with a profile, and lying on its side."""
    photo = Image.fromarray(np.random.default_rng(1).integers(80, 176, (10, 12, 3), dtype=np.uint8))
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red], profile[blue] = profile[blue], profile[red]
    side = Image.Exif()
    side[0x0112] = 6
    ways: dict[str, dict[str, Any]] = {
        "profile.png": {"icc_profile": bytes(profile)},
        "profile.webp": {"icc_profile": bytes(profile), "lossless": True},
        "side.png": {"exif": side},
        "side.jpg": {"exif": side},
        "side.webp": {"exif": side, "lossless": True},
    }
    made = {}
    for name, way in {"gamma.png": {}, **ways}.items():
        file = io.BytesIO()
        photo.save(file, Image.registered_extensions()[Path(name).suffix], **way)
        made[name] = file.getvalue()
    gamma = b"gAMA" + (100_000).to_bytes(4, "big")
    chunk = (4).to_bytes(4, "big") + gamma + zlib.crc32(gamma).to_bytes(4, "big")
    made["gamma.png"] = made["gamma.png"][:33] + chunk + made["gamma.png"][33:]
    return made


def test_a_picture_is_upright_and_of_the_colours_that_are_stored_as_predict_reads_it(
    visit: Visit, colours: unroll.Run, tmp_path: Path
) -> None:
    page = visit(colours.path / "page.html")
    for name, content in pictures().items():
        (tmp_path / name).write_bytes(content)
        expected = prepare_image(tmp_path / name, colours.preparation.image)  # type: ignore[arg-type]
        page.evaluate("() => (document.querySelector('.made').textContent = '')")
        drop(page, name, "", content)
        page.locator(".made", has_text=expected.steps[0]).wait_for()
        shown = page.locator(".pixels").evaluate(
            """(canvas) => {
                const copy = new OffscreenCanvas(12, 10).getContext("2d", { willReadFrequently: true });
                copy.imageSmoothingEnabled = false;
                copy.drawImage(canvas, 0, 0, 12, 10);
                return Array.from(copy.getImageData(0, 0, 12, 10).data);
            }"""
        )
        found = np.array(shown).reshape(10, 12, 4)[..., :3]
        off = np.abs(found - expected.pixels.numpy().astype(int)).max()
        assert off <= (2 if name.startswith("side") else 0), name  # these are resized, which rounds twice


def test_a_pen_of_a_colour_draws_what_the_model_sees(visit: Visit, colours: unroll.Run) -> None:
    page = visit(colours.path / "page.html")
    page.evaluate("Pad.PEN = 100")  # a wide one, which soon covers the sheet
    pen = page.get_by_label("Colour of the pen")
    seen = """(canvas) => {
        const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, -canvas.width / 2, -canvas.height / 2);
        return Array.from(copy.getImageData(0, 0, 1, 1).data);
    }"""
    for colour, numbers in (("#00a000", [0, 160, 0, 255]), ("#d00010", [208, 0, 16, 255])):
        page.get_by_role("button", name="Clear").click()
        pen.fill(colour)
        sheet = page.locator("canvas.pad")
        box = sheet.bounding_box()
        place = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: B023, E731
        page.mouse.move(*place(0.01, 0.01))
        page.mouse.down()
        for row in range(5):  # to and fro, so that it covers the sheet
            for x in (0.01, 0.5, 0.99)[:: 1 if row % 2 == 0 else -1]:
                page.mouse.move(*place(x, 0.01 + 0.98 * row / 4))
        page.mouse.up()
        assert sheet.evaluate(seen) == pytest.approx(numbers, abs=1)
        page.locator(".made", has_text="resized to 12×10").wait_for()
        go(page, 10)
        assert page.locator(".pixels").evaluate(seen) == pytest.approx(numbers, abs=1)
        assert first(page) == ("green" if colour == "#00a000" else "red")
    pen.fill("#123456")
    page.locator(".pixels").focus()
    for key in ("ArrowDown", "Enter"):
        page.keyboard.press(key)
    assert page.locator(".grid .unseen").text_content() == "row 6, column 7: red 18, green 52, blue 86"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_scrolling_sideways(visit: Visit, texts: Path, series: Path, scheme: str) -> None:
    for path in (texts, series):
        page = visit(path, phone=True, color_scheme=scheme)
        if path == texts:
            page.get_by_role("textbox").fill("fine" * 200)
        page.get_by_role("button", name="What mattered?").click()
        page.locator(".weight, .weighed").first.wait_for(state="attached")
        assert page.evaluate("() => document.documentElement.scrollWidth") == 360


def test_names_of_classes_may_be_long(visit: Visit, series: Path, tmp_path: Path) -> None:
    named = tmp_path / "named.html"
    long = "Rising, and with Wide Words Without an End"
    named.write_text(series.read_text("utf-8").replace('"rising"', f'"{long}"').replace('"falling"', '"in free fall"'))
    page = visit(named, phone=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") == 360
    assert page.locator("#bars .name").first.evaluate("(name) => name.scrollWidth <= name.clientWidth")  # is whole
    at_ends = page.locator("#curves .head text").all_text_contents()
    assert len(at_ends) == 2
    assert all(name.endswith("…") for name in at_ends)


def test_each_of_few_classes_keeps_its_colour(curve: Any) -> None:
    page = curve
    colours = lambda: page.locator("#bars li").evaluate_all("(all) => all.map((bar) => bar.classList[0])")  # noqa: E731
    for answer, sign, time in (("rising", 1, 20), ("falling", -1, 18)):
        drop(page, f"{answer}.csv", "", b"\n".join(b"%.2f,0" % (sign * (n / 5 - 2)) for n in range(time)))
        page.wait_for_function(f"() => document.getElementById('scrub').max === '{time}'")
        assert first(page) == answer
        assert colours() == ["class-0", "class-1"]


def test_everything_has_a_name(visit: Visit, texts: Path, series: Path, colours: unroll.Run) -> None:
    for path in (texts, series, colours.path / "page.html"):
        page = visit(path)
        names = page.evaluate(
            """() => [...document.querySelectorAll("#input :is(button, input, textarea, select, [role])")].map((part) =>
                part.getAttribute("aria-label") || part.closest("label")?.textContent || part.textContent)"""
        )
        assert names
        assert all(name.strip() for name in names)


def test_a_page_says_how_many_samples_it_holds(series: Path, visit: Visit) -> None:
    page = visit(series)
    page.locator("#made", has_text=f"It holds {page.locator('#samples button').count()} real samples").wait_for()


def test_a_page_without_samples_opens_and_says_so(series: Path, tmp_path: Path, visit: Visit) -> None:
    page = visit(changed(series, tmp_path / "bare.html", samples=[]))
    page.locator("#made", has_text="It holds no samples of the data.").wait_for()
    assert not page.locator("#samples-title").is_visible()
    assert page.locator("#bars").is_visible()
