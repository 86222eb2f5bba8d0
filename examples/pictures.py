"""Take the two pictures in the README from the pages that `make demo` wrote.

Run `make demo` first, then `.venv/bin/python -m examples.pictures`. Needs Chromium and playwright.
Writes `docs/images/student_report.png` and `docs/images/class_page.png`.
"""

import base64
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from examples.sample_class.__main__ import OUT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
STUDENT = "linus"
"""Right in everything but one target, so that the report shows how speed is judged."""
WIDTH = 860
HEIGHT = 820
"""Of each part, in pixels; the report's picture has two parts side by side."""


def main() -> int:
    """Write the pictures; 1 if the pages or Chromium are missing."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    report, index = OUT / "students" / STUDENT / "report.html", OUT / "index.html"
    missing = [path for path in (report, index) if not path.is_file()]
    if missing or program is None:
        why = f"{missing[0]} is missing; run `make demo`" if missing else "no Chromium"
        print(f"error: {why}", file=sys.stderr)
        return 1
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, headless=True, args=["--no-sandbox", "--disable-gpu"]
        )
        parts = (_part(browser, report, ""), _part(browser, report, "li.check:has(.is-fail)"))
        _beside_each_other(browser, parts, IMAGES / "student_report.png")
        class_page = _part(browser, index, "", width=1100, height=1080)
        (IMAGES / "class_page.png").write_bytes(class_page)
        browser.close()
    print(f"wrote the pictures in {IMAGES}")
    return 0


def _part(
    browser: "Browser", path: Path, begin: str, *, width: int = WIDTH, height: int = HEIGHT
) -> bytes:
    """Return a picture of a page from the element that `begin` selects, or from its top."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(path.resolve().as_uri())
    bounds = page.locator(begin or "body").first.bounding_box()
    top = bounds["y"] if bounds else 0.0
    picture = page.screenshot(
        clip={"x": 0.0, "y": top, "width": float(width), "height": float(height)}, full_page=True
    )
    page.close()
    return picture


def _beside_each_other(browser: "Browser", parts: Sequence[bytes], path: Path) -> None:
    """Write one picture of several."""
    shown = "".join(
        f'<img src="data:image/png;base64,{base64.b64encode(part).decode()}">' for part in parts
    )
    page = browser.new_page(viewport={"width": WIDTH * len(parts), "height": HEIGHT})
    page.set_content(f'<body style="margin:0;display:flex">{shown}</body>')
    page.screenshot(path=path)
    page.close()


if __name__ == "__main__":
    sys.exit(main())
