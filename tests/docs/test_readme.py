"""The README is one screen and a half, and shows what it speaks of."""

import re
import struct

from tests.docs.pages import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_LINES = 90


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_the_readme_shows_two_pictures_that_exist() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(shown) == 2
    for path in shown:
        content = (ROOT / path).read_bytes()
        assert content.startswith(b"\x89PNG\r\n"), path
        width_px, height_px = struct.unpack(">II", content[16:24])
        assert min(width_px, height_px) >= 400, path


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
        assert links
        assert [link for link in links if not (ROOT / link).is_file()] == [], name


def test_the_first_commands_are_the_demo_and_grading() -> None:
    first = README.split("```sh\n", 1)[1].split("```", 1)[0].splitlines()
    assert [line.split()[:2] for line in first] == [["make", "demo"], ["grader", "grade"]]


def test_contributing_is_under_two_pages() -> None:
    words = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split()
    assert len(words) <= 1000
