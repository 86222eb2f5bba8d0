"""Writes a new assignment and its reference from the templates beside this file.

Both are complete: `grader validate` accepts them.
"""

from pathlib import Path
from string import Template

from grader.assignment.table import SLUG_PATTERN
from grader.errors import UsageError
from grader.release.bundle import refresh_notebook
from grader.release.record_public import record_public, write_public

TEMPLATES = Path(__file__).resolve().parent
TEMPLATE_SUFFIX = ".tmpl"


def write_scaffold(slug: str, assignments: Path, reference: Path) -> tuple[Path, Path]:
    """Write a new assignment; return its two folders, one in `assignments`, one in `reference`.

    Raises:
        UsageError: if the slug is invalid, a folder exists, or the templates are not installed.
    """
    if not SLUG_PATTERN.fullmatch(slug):
        hint = "use 2 to 64 lower-case letters, digits and _, starting with a letter"
        raise UsageError(f"{slug!r} cannot name an assignment", hint=hint)
    folders = (assignments / slug, reference / slug)
    for folder in folders:
        if folder.exists():
            raise UsageError(
                f"{folder} exists already", hint="choose another name; nothing was written"
            )
    names = {"slug": slug, "title": slug.replace("_", " ").capitalize()}
    for folder, kind in zip(folders, ("assignment", "reference"), strict=True):
        _fill(TEMPLATES / kind, folder, names)
    refresh_notebook(folders[0])
    write_public(folders[0], record_public(*folders))
    return folders


def _fill(templates: Path, folder: Path, names: dict[str, str]) -> None:
    found = sorted(templates.rglob(f"*{TEMPLATE_SUFFIX}"))
    if not found:
        raise UsageError(
            "the templates of new assignments are not installed",
            hint="the students' bundle does not contain them; install the project itself",
        )
    for template in found:
        target = folder / template.relative_to(templates).with_suffix("")
        target.parent.mkdir(parents=True, exist_ok=True)
        text = Template(template.read_text(encoding="utf-8")).substitute(names)
        target.write_text(text, encoding="utf-8", newline="\n")
