"""The site builds without a warning, its generated pages are fresh, and nothing is left out."""

import dataclasses
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
import typing
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

from grader import author
from grader.assignment import table, target
from grader.assignment.launcher import Launcher
from grader.judge.judgement import Cause, Status
from grader.report.messages import EVIDENCE_TEXT
from tests.docs.pages import DOCS, GENERATED, ROOT


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_fresh() -> None:
    pages = _generator().pages()
    assert set(pages) == GENERATED
    stale = [name for name, text in pages.items() if (DOCS / name).read_text() != text]
    assert stale == [], "run `python docs/generate.py` and commit what it writes"


def test_generated_pages_leave_nothing_unexplained() -> None:
    for name in GENERATED:
        for line in (DOCS / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("| `"):
                meaning = line.split(" | ")[1 if name == "commands.md" else 3].strip(" |")
                assert meaning, f"{name}: {line}"


def test_every_key_of_a_table_is_explained() -> None:
    """Also of tables that are added: they are found from the type of the whole file."""
    page = (DOCS / "authors" / "assignment_toml.md").read_text(encoding="utf-8")
    waiting: list[type] = [table._AssignmentFile]
    seen: set[type] = {Launcher}  # has a section of its own
    while waiting:
        kind = waiting.pop()
        seen.add(kind)
        for name, hint in typing.get_type_hints(kind).items():
            assert f"| `{name}` |" in page, f"{kind.__name__}.{name}"
            for inside in (hint, *typing.get_args(hint)):
                if isinstance(inside, type) and dataclasses.is_dataclass(inside):
                    waiting += [inside] if inside not in seen else []
    assert {table.Limits, table.Check, target.Target, target.Tier} <= seen
    assert "## [[problem.launcher]]" in page


def test_every_word_of_authors_is_explained() -> None:
    page = (DOCS / "authors" / "author_words.md").read_text(encoding="utf-8")
    sections = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    assert list(sections) == author.__all__
    plain = _generator().PLAIN_NAMES
    for name in author.__all__:
        if name in plain:
            assert plain[name] in sections[name]
            continue
        thing = getattr(author, name)
        shown = sections[name].split("```")[2].strip()
        assert len(shown.split()) >= 4, f"{name} has no explanation"
        for parameter in inspect.signature(thing).parameters:
            assert f"* `{parameter}`: " in sections[name], f"{name}({parameter})"
    for name, method in inspect.getmembers(author.Draw, inspect.isfunction):
        if not name.startswith("_"):
            told = sections["Draw"].split(f"### Draw.{name}\n")[1].split("###")[0]
            assert len(told.split("```")[2].split()) >= 4, f"Draw.{name}"
            assert f"{name}(" in told, str(method)


def test_every_cause_and_status_has_a_heading_with_its_name() -> None:
    text = (DOCS / "students" / "causes.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(headings) == {cause.value for cause in Cause} | {status.value for status in Status}


def test_the_students_page_names_evidence_as_reports_do() -> None:
    page = (DOCS / "students" / "index.md").read_text(encoding="utf-8")
    for kind, text in EVIDENCE_TEXT.items():
        assert f"| {text} |" in page, kind


class _Page(HTMLParser):
    """What a page links to, and what a browser would fetch for it."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.ids.add(found.get("id", ""))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in ("script", "img", "iframe") and "src" in found:
            self.fetched.append(found["src"])
        if tag == "link" and found.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(found.get("href", ""))


@pytest.mark.slow
def test_the_site_builds_and_every_link_is_good(tmp_path: Path) -> None:
    site = tmp_path / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    pages = {path: _Page() for path in site.rglob("*.html") if path.name != "404.html"}
    for path, page in pages.items():
        page.feed(path.read_text(encoding="utf-8"))
    assert len(pages) >= 13
    for path, page in pages.items():
        outside = [one for one in page.fetched if re.match(r"(https?:)?//", one)]
        assert outside == [], f"{path.name} fetches from elsewhere"
        for link in page.links:
            if re.match(r"(https?|mailto):", link):
                continue
            address, _, anchor = link.partition("#")
            target = (path.parent / address).resolve() if address else path
            assert target.exists(), f"{path.relative_to(site)}: {link}"
            known = pages[target].ids if target in pages else {anchor}
            assert not anchor or anchor in known, f"{path.relative_to(site)}: {link}"


def test_the_error_rates_on_the_page_are_those_that_were_measured() -> None:
    measured = json.loads((ROOT / "benchmarks" / "results" / "verdicts.json").read_text())
    page = (DOCS / "design" / "statistics.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2].strip() for line in page.splitlines() if line.startswith("| ")]
    for bound in measured["bounds"]:
        assert bound["holds"], bound["name"]
        found = bound["found"]
        shown = f"{found:.1f} s" if bound["name"].endswith(", s") else f"{100 * found:.2g} %"
        if found > 0.1 and "itself" in bound["name"]:
            shown = f"{100 * found:.3g} %"
        if found == 0:
            shown = "0"
        assert any(row.startswith(shown) for row in rows), (bound["name"], shown)
