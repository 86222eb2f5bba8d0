"""Fills the templates: HTML pages, HTML fragments and Markdown, and the student's two reports.

Every value is escaped: for HTML by the template engine, for Markdown by `escape_markdown`. A page
loads nothing; the only script that it may run is named, by its hash, in its own content security
policy.
"""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from grader.judge.judgement import Status, Verdict
from grader.report import messages
from grader.report.hostile_text import escape_markdown, fence_markdown
from grader.report.student_view import StudentView

_PACKAGED = Path(__file__).parents[1] / "_templates"
_CHECKOUT = Path(__file__).parents[2] / "templates"


def templates_folder() -> Path:
    """Return the folder of the templates: inside the installed package, or in the checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def render_page(template: str, /, *, script: str = "", **shown: object) -> str:
    """Return the HTML page `template`; it needs no other file, and runs only the one `script`."""
    style_text = _read_asset("page.css")
    script_text = _read_asset(script) if script else ""
    return render_fragment(
        template,
        style=Markup(style_text),  # noqa: S704 - our own file
        script=Markup(script_text),  # noqa: S704 - our own file
        policy=_content_policy(style_text, script_text),
        **shown,
    )


def render_fragment(template: str, /, **shown: object) -> str:
    """Return the HTML fragment `template`, to be put into a page."""
    return _html_environment().get_template(template).render(**shown)


def render_markdown(template: str, /, **shown: object) -> str:
    """Return the Markdown text `template`; values are escaped for Markdown, not for HTML."""
    return _markdown_environment().get_template(template).render(**shown).strip() + "\n"


def render_report_html(view: StudentView) -> str:
    """Return `report.html`: one page that loads nothing and runs no script."""
    return render_page("report.html.j2", view=view)


def render_report_markdown(view: StudentView) -> str:
    """Return `report.md`."""
    return render_markdown("report.md.j2", view=view)


def _content_policy(style: str, script: str) -> str:
    sources = ["default-src 'none'", f"style-src {_hash_source(style)}"]
    if script:
        sources.append(f"script-src {_hash_source(script)}")
    return "; ".join([*sources, "base-uri 'none'", "form-action 'none'"])


def _hash_source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _read_asset(name: str) -> str:
    return (templates_folder() / name).read_text(encoding="utf-8")


@cache
def _html_environment() -> Environment:
    environment = _make_environment()
    environment.filters["points"] = messages.number_text
    environment.filters["ticks"] = _mark_code
    return environment


@cache
def _markdown_environment() -> Environment:
    environment = _make_environment()
    environment.finalize = _finish_markdown
    environment.filters["points"] = lambda value: Markup(messages.number_text(value))  # noqa: S704 - digits
    environment.filters["code"] = lambda name: Markup(f"`{name}`")  # noqa: S704 - our own name
    environment.filters["fence"] = lambda text: Markup(fence_markdown(text))  # noqa: S704 - fenced
    return environment


def _make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates_folder()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(messages=messages, Verdict=Verdict, Status=Status)
    return environment


def _mark_code(text: str) -> Markup:
    """Return `text` as HTML: escaped, and what stands between back-ticks as code."""
    parts = re.split(r"`([^`\n]+)`", text)
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(p) if n % 2 else p for n, p in enumerate(parts))


def _finish_markdown(value: object) -> Markup:
    # Our own macros and filters return Markdown; everything else is text and must be escaped.
    return value if isinstance(value, Markup) else Markup(escape_markdown(str(value)))  # noqa: S704
