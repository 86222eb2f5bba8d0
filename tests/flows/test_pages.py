"""Opens the pages in a browser as staff and students do, at desktop and phone width."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grader.judge.judgement import Status
from grader.report import write_reports
from tests.unit.report import samples, target_samples

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
CHROMIUM_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
LONG_NAME = "anna-katharina_van-der-wolkenstein_" + "x" * 90
PAGES = {
    "class_index": "index.html",
    "report": "students/student_005/report.html",
    "report_long_name": f"students/{LONG_NAME}/report.html",
    "report_targets": "students/hopper/report.html",
    "report_rejected": "students/zuse/report.html",
    "notebook": "students/grace/feedback.html",
}


def _missing(what: str) -> None:
    if "browser" in os.environ.get("GRADER_REQUIRE", ""):
        pytest.fail(f"GRADER_REQUIRE asks for a browser: {what}")
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Yield a headless Chromium; without one, skip, or fail where it is required."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        _missing("playwright is not installed")
    if program is None:
        _missing("Chromium is not installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, headless=True, args=CHROMIUM_ARGUMENTS
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a class of 300 with every kind of page in it."""
    folder = tmp_path_factory.mktemp("out")
    everything = samples.make_judgement(*samples.EVERY_VERDICT, status=Status.UNGRADED)
    unconfined = samples.make_measurement(
        sandbox="none", output="x" * 3000 + "\n<script>alert(1)</script>"
    )
    records = [
        *samples.make_class(296),
        target_samples.make_target_record("hopper"),
        samples.make_notebook_record(
            "grace", ("markdown", "<script>alert(1)</script> ![x](https://example.org/x.png)")
        ),
        samples.make_rejected_record("zuse"),
        replace(
            samples.make_record(LONG_NAME, judgement=everything, measurement=unconfined),
            advice=samples.make_advice(),
        ),
    ]
    write_reports(records, folder)
    return folder


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where screenshots are kept."""
    kept = os.environ.get("GRADER_ARTEFACTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Visit:
    """A page that is open, and what it complained about or asked the network for."""

    def __init__(self, browser: Any, viewport: dict[str, int], address: str) -> None:
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport=viewport)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self._note(request.url))
        self.page.goto(address)

    def _note(self, url: str) -> None:
        if not url.startswith("file:"):
            self.complaints.append(f"request {url}")

    def overflow_px(self) -> int:
        """Return by how much the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


@pytest.mark.parametrize("device", ["desktop", "phone"])
@pytest.mark.parametrize("name", list(PAGES))
def test_page_opens_cleanly(
    name: str, device: str, browser: Any, out: Path, screenshots: Path
) -> None:
    visit = _Visit(browser, DESKTOP if device == "desktop" else PHONE, (out / PAGES[name]).as_uri())
    visit.page.screenshot(path=screenshots / f"{name}_{device}.png", full_page=True)
    overflow_px = visit.overflow_px()
    visit.page.close()
    assert visit.complaints == []
    assert overflow_px <= 0


@pytest.mark.parametrize("name", ["report_long_name", "report_targets"])
def test_narrow_phone_and_dark_mode(name: str, browser: Any, out: Path, screenshots: Path) -> None:
    visit = _Visit(browser, {"width": 360, "height": 740}, (out / PAGES[name]).as_uri())
    visit.page.emulate_media(color_scheme="dark")
    visit.page.screenshot(path=screenshots / f"{name}_dark_360.png", full_page=True)
    overflow_px = visit.overflow_px()
    ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    visit.page.close()
    assert visit.complaints == []
    assert overflow_px <= 0
    assert ground == "rgb(18, 21, 27)"


def test_index_filters_sorts_and_leads_to_reports(browser: Any, out: Path) -> None:
    visit = _Visit(browser, DESKTOP, (out / "index.html").as_uri())
    page = visit.page
    assert page.locator("#class tbody tr:visible").count() == 300

    page.get_by_label("Find a name or cause").fill("student_00")
    assert page.locator("#class tbody tr:visible").count() == 10
    page.get_by_label("Find a name or cause").fill("")
    page.get_by_role("combobox", name="Status").select_option("Rejected")
    assert page.locator("#class tbody tr:visible").count() == 6
    page.get_by_role("combobox", name="Status").select_option("")

    page.get_by_role("button", name="Score").click()
    scores = page.eval_on_selector_all(
        "#class tbody tr td:nth-child(3)", "cells => cells.map(cell => Number(cell.dataset.value))"
    )
    assert scores == sorted(scores)
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Score")

    page.get_by_role("link", name="student_005", exact=True).click()
    assert page.title().startswith("student_005")
    page.close()
    assert visit.complaints == []


def test_index_head_and_names_stay_in_sight(browser: Any, out: Path) -> None:
    visit = _Visit(browser, PHONE, (out / "index.html").as_uri())
    page = visit.page
    scroller = page.locator(".scroll", has=page.locator("#class"))
    scroller.evaluate("element => element.scrollTo(200, 2000)")
    head = page.locator("#class thead th").nth(3).bounding_box()
    frame = scroller.bounding_box()
    name = page.locator("#class tbody th:visible").nth(60).bounding_box()
    page.close()
    assert abs(head["y"] - frame["y"]) <= 2
    assert abs(name["x"] - frame["x"]) <= 2


def test_report_prints_what_was_printed(browser: Any, out: Path, screenshots: Path) -> None:
    visit = _Visit(browser, DESKTOP, (out / PAGES["report"]).as_uri())
    visit.page.pdf(path=screenshots / "report.pdf")
    visit.page.close()
    assert visit.complaints == []
    assert (screenshots / "report.pdf").stat().st_size > 10_000


def test_print_is_dark_ink_on_white_in_dark_mode_too(browser: Any, out: Path) -> None:
    visit = _Visit(browser, DESKTOP, (out / PAGES["report"]).as_uri())
    visit.page.emulate_media(media="print", color_scheme="dark")
    colours = visit.page.evaluate(
        "[document.body, document.querySelector('.status')]"
        ".map(element => getComputedStyle(element).backgroundColor)"
    )
    visit.page.close()
    assert colours == ["rgb(255, 255, 255)", "rgb(230, 245, 236)"]


@pytest.mark.parametrize("width", [1280, 390, 360])
def test_text_of_charts_is_legible_and_stays_in_its_card(
    width: int, browser: Any, out: Path
) -> None:
    visit = _Visit(
        browser, {"width": width, "height": 800}, (out / PAGES["report_targets"]).as_uri()
    )
    visit.page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    texts = visit.page.eval_on_selector_all(
        ".target text",
        """texts => texts.map(text => {
            const area = text.getBoundingClientRect();
            const card = text.closest(".card").getBoundingClientRect();
            return [text.textContent, area.height, area.left - card.left, card.right - area.right];
        })""",
    )
    overflow_px = visit.overflow_px()
    visit.page.close()
    assert len(texts) > 50
    assert not [text for text in texts if text[1] < 11]
    assert not [text for text in texts if text[2] < 0 or text[3] < 0]
    assert overflow_px <= 0


def test_charts_have_names_for_screen_readers(browser: Any, out: Path) -> None:
    visit = _Visit(browser, DESKTOP, (out / PAGES["report_targets"]).as_uri())
    strip = visit.page.get_by_role("img", name="Peak memory")
    count = strip.count()
    described = strip.first.locator("desc").text_content()
    visit.page.close()
    assert count == 1
    assert "times the reference's, interval" in described
