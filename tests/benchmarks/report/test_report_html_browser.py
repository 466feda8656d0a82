"""The page in a real browser: on a desktop, a phone, in the dark, in print, without scripts, by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from kit import full_reports, reports
from kit.browser import Browser, find_browser
from PIL import Image as Pillow

from visiondeploy.benchmarks.report.html.page import to_html
from visiondeploy.benchmarks.report.html.pictures import album
from visiondeploy.benchmarks.report.plots.table import plots

PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium or chrome is installed here")


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser(str(PROGRAM), tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    photo = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    classes = np.zeros((120, 160, 3), np.uint8)
    classes[:, 60:] = (200, 30, 30)
    pictures = album([[("input", photo), ("truth", classes), ("engine", classes[:, ::-1])]] * 2, [("road", (0, 0, 0))])
    found = {}
    for name, report in (
        ("engines", full_reports.engines()),
        ("painters", full_reports.painters()),
        ("compressed", reports.compressed(4)),
    ):
        found[name] = folder / f"{name}.html"
        found[name].write_text(to_html(report, f"{name} <title>", plots(report), pictures), encoding="utf-8")
    return found


def is_quiet(browser: Browser) -> bool:
    """Nothing went to the console, and nothing but the file itself and what is in it was asked for."""
    addresses = {request["request"]["url"] for request in browser.of("Network.requestWillBeSent")}
    others = [address for address in addresses if not address.startswith(("file:", "data:"))]
    files = [address for address in addresses if address.startswith("file:")]
    said = [*browser.of("Log.entryAdded"), *browser.of("Runtime.consoleAPICalled")]
    said += browser.of("Runtime.exceptionThrown")
    assert (said, others, len(files)) == ([], [], 1)
    return True


@pytest.mark.parametrize("name", ["engines", "painters", "compressed"])
@pytest.mark.parametrize("width", [1280, 768, 390, 320])
def test_fits_every_window(browser, pages, name, width) -> None:
    browser.look(width, 844)
    browser.open(pages[name])
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = browser.evaluate("[...document.querySelectorAll('svg.wide')].some(one => one.checkVisibility())")
    narrow = browser.evaluate("[...document.querySelectorAll('svg.narrow')].some(one => one.checkVisibility())")
    assert (wide, narrow) == (width > 704, width <= 704)
    assert is_quiet(browser)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["engines", "painters", "compressed"])
def test_no_text_in_a_plot_covers_other_text_or_is_cut(browser, pages, name, width) -> None:
    browser.look(width, 844)
    browser.open(pages[name])
    browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    covered = browser.evaluate(
        """
        [...document.querySelectorAll('svg.plot')].filter(svg => svg.checkVisibility()).flatMap(svg => {
          const texts = [...svg.querySelectorAll('text')].map(text => [text, text.getBoundingClientRect()]);
          const frame = svg.getBoundingClientRect();
          const cut = texts.filter(([, box]) => box.left < frame.left - 6 || box.right > frame.right + 6);
          const pairs = texts.flatMap(([one, a], at) => texts.slice(at + 1).filter(([, b]) =>
            Math.min(a.right, b.right) - Math.max(a.left, b.left) > 3 &&
            Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 0.45 * Math.min(a.height, b.height)
          ).map(([other]) => `${one.textContent} | ${other.textContent}`));
          return [...cut.map(([text]) => `cut: ${text.textContent}`), ...pairs];
        })
        """
    )
    assert covered == []


def test_is_dark_where_that_is_liked(browser, pages) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    plot = "getComputedStyle(document.querySelector('svg.plot .f-ink')).fill"
    seen = []
    for dark in (False, True):
        browser.look(1280, dark=dark)
        browser.open(pages["engines"])
        seen.append((browser.evaluate(colour), browser.evaluate(plot)))
    assert seen == [("rgb(255, 255, 255)", "rgb(27, 31, 36)"), ("rgb(21, 25, 30)", "rgb(232, 235, 238)")]


def test_the_slider_moves_by_keyboard(browser, pages) -> None:
    browser.look(1280)
    browser.open(pages["engines"])
    assert browser.evaluate("document.querySelector('.viewer').checkVisibility()")
    assert not browser.evaluate("document.querySelector('.sheet').checkVisibility()")
    browser.evaluate("document.querySelector('.meet').focus()")
    before = browser.evaluate("document.querySelector('.over').style.clipPath")
    for _ in range(5):
        browser.press("ArrowLeft", 37)
    assert browser.evaluate("document.querySelector('.meet').value") == "45"
    after = browser.evaluate("document.querySelector('.over').style.clipPath")
    assert (before, after) == ("inset(0px 0px 0px 50%)", "inset(0px 0px 0px 45%)")
    assert "45 % truth" in browser.evaluate("document.querySelector('.meet').ariaValueText")
    assert is_quiet(browser)


def test_other_pictures_can_be_chosen(browser, pages) -> None:
    browser.look(390, 844)
    browser.open(pages["engines"])
    chosen = browser.evaluate(
        """(() => {
          const right = document.querySelector('.viewer .right');
          right.value = 0;
          right.dispatchEvent(new Event('change'));
          return document.querySelector('.over').alt;
        })()"""
    )
    assert chosen == "Image 1: input"


def test_without_scripts_the_pictures_stand_side_by_side(browser, pages) -> None:
    browser.look(1280, scripts=False)
    browser.open(pages["engines"])
    assert browser.evaluate("document.querySelector('.sheet').checkVisibility()")
    assert not browser.evaluate("document.querySelector('.viewer').checkVisibility()")
    assert browser.evaluate("[...document.querySelectorAll('.sheet img')].length") == 6
    assert is_quiet(browser)


def test_in_print_it_is_light_whole_and_has_pages(browser, pages, tmp_path) -> None:
    browser.look(1280, dark=True, media="print")
    browser.open(pages["engines"])
    assert browser.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper')") == "#ffffff"
    assert browser.evaluate("document.querySelector('.sheet').checkVisibility()")
    assert not browser.evaluate("document.querySelector('nav').checkVisibility()")
    browser.look(1280)
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_can_be_seen(browser, pages, tmp_path) -> None:
    browser.look(390, 844)
    browser.open(pages["engines"])
    browser.screenshot(tmp_path / "phone.png")
    with Pillow.open(tmp_path / "phone.png") as picture:
        assert picture.width == 780
        assert picture.height > 4 * picture.width
        assert len(picture.convert("RGB").resize((200, 800)).getcolors(200 * 800) or ()) > 50
