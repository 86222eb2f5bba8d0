"""Where assignments and their references lie.

Takes: a slug, and folders if the caller names them. Gives: the folders of assignment and
reference. Does not cover: the environment (read in the command line alone).
"""

from pathlib import Path

from grader.errors import UsageError
from grader.plan.assignment import SLUG_PATTERN
from grader.student.folders import find_assignment, list_assignments, search_roots

__all__ = ["find_assignment", "find_reference", "list_assignments"]


def find_reference(slug: str, reference: Path | None = None) -> Path:
    """Return the folder with oracle, solution and cases of the assignment `slug`.

    Args:
        slug: name of the assignment.
        reference: folder that holds references; without it `./reference` and the checkout around
            the package are searched, in this order. References never ship inside the package.

    Raises:
        UsageError: if there is no such reference, naming those that exist.
    """
    known: set[str] = set()
    for root in search_roots(reference, "reference", packaged=False):
        if SLUG_PATTERN.fullmatch(slug) and (root / slug / "cases.py").is_file():
            return root / slug
        known.update(cases.parent.name for cases in root.glob("*/cases.py"))
    raise UsageError(
        f"no reference for {slug!r}; here are: {', '.join(sorted(known)) or 'none'}",
        hint="name a folder of references with --reference DIR or GRADER_REFERENCE",
    )
