from pathlib import Path

import pytest
from jinja2 import UndefinedError

from grader.report import pages
from grader.report.pages import render_markdown, render_page, templates_folder


def test_templates_are_found_and_complete() -> None:
    names = {path.name for path in templates_folder().iterdir()}
    assert {
        "page.css",
        "page.html.j2",
        "report.html.j2",
        "report.md.j2",
        "class_index.html.j2",
    } <= names


def test_the_packaged_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_PACKAGED", tmp_path)
    assert templates_folder() == tmp_path


@pytest.mark.parametrize("render", [render_page, render_markdown])
def test_a_missing_value_is_an_error_not_a_gap(render: object) -> None:
    assert callable(render)
    with pytest.raises(UndefinedError):
        render("report.md.j2" if render is render_markdown else "report.html.j2")


def test_no_template_switches_escaping_off() -> None:
    sources = {p.name: p.read_text(encoding="utf-8") for p in templates_folder().glob("*.j2")}
    assert not [name for name, text in sources.items() if "autoescape" in text]
    marked = {name: text.count("| safe") for name, text in sources.items() if "safe" in text}
    assert {name: count for name, count in marked.items() if count} == {"problem.md.j2": 1}
