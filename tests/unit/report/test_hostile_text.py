import re
from html import unescape

import mistune
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.report.hostile_text import (
    escape_markdown,
    fence_markdown,
    make_legible,
    neutralise_formula,
)

# As lenient as an LMS may be: HTML passes, bare addresses become links.
LENIENT = mistune.create_markdown(
    escape=False, plugins=["url", "table", "strikethrough", "task_lists", "math", "footnotes"]
)
MARKDOWN = st.text(alphabet="<>[]()!*_`~#+-=|$&;:/.@ \n\\\"'{}ahtpsw1", max_size=60)


def _render(markdown: str) -> str:
    return str(LENIENT(markdown))


def _words(text: str) -> str:
    return " ".join(text.replace("\u200b", "").split())


@pytest.mark.parametrize(
    ("hostile", "legible"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jgone", "gone"),
        ("\x1b]never closed", ""),
        ("a\r\nb\rc", "a\nb\nc"),
        ("tab\tstays", "tab\tstays"),
        ("nul\x00bell\x07", "nul\ufffdbell\ufffd"),
        ("\u202egpj.exe", "\ufffdgpj.exe"),
        ("lone \udcff", "lone \ufffd"),
    ],
)
def test_make_legible(hostile: str, legible: str) -> None:
    assert make_legible(hostile) == legible


@given(st.text())
def test_legible_text_can_be_written_and_has_no_controls(text: str) -> None:
    legible = make_legible(text)
    legible.encode("utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", legible)
    assert make_legible(legible) == legible


@given(MARKDOWN)
def test_escaped_markdown_shows_the_text_and_nothing_else(text: str) -> None:
    html = _render(f"Name: {escape_markdown(text)}")
    inner = html.strip().removeprefix("<p>").removesuffix("</p>")
    assert "<" not in inner
    assert _words(unescape(inner)) == _words(f"Name: {text}")


@given(MARKDOWN)
def test_escaped_markdown_starts_no_block(text: str) -> None:
    html = _render(f"first\n{escape_markdown(text)}")
    assert set(re.findall(r"<\s*(\w+)", html)) <= {"p"}


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "![x](https://example.org/pixel.png)",
        "[x](javascript:alert(1))",
        "<https://example.org>",
        "https://example.org and www.example.org",
        "[x]: https://example.org\n\n[x]",
        "a | b\n--|--\n1 | 2",
        "# heading",
        "```\ncode\n```",
        "&lt;script&gt;",
        "@everyone",
    ],
)
def test_markdown_injections(hostile: str) -> None:
    html = _render(f"- {escape_markdown(hostile)}")
    assert set(re.findall(r"<\s*(\w+)", html)) <= {"ul", "li"}
    assert "@everyone" not in html


@given(st.text(alphabet="`~\n <script>a", max_size=80))
def test_a_fence_cannot_be_closed_from_within(text: str) -> None:
    html = _render(f"{fence_markdown(text)}\n\nafter")
    assert html.count("<pre>") == 1
    assert html.rstrip().endswith("<p>after</p>")
    assert "<script" not in html


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\n", "  =", "\x1b[1m=", "＝", "\x00="]
)
def test_formulas_are_neutralised(start: str) -> None:
    assert neutralise_formula(f"{start}HYPERLINK(1)").startswith("'")


def test_plain_cells_stay() -> None:
    assert neutralise_formula("ada_lovelace") == "ada_lovelace"
    assert neutralise_formula("a=b") == "a=b"
    assert neutralise_formula("") == ""
