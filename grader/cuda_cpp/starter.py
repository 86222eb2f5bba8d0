"""The starter in CUDA C++, made from the one in Python: one text of what is asked, two languages.

Takes: the folder of an assignment that takes CUDA C++. Gives: `write_starter`, `refresh_starter`.
Does not cover: the header (see `cuda_cpp.header`).
"""

import ast
import textwrap
from pathlib import Path

from grader.assignment.launcher import Launcher
from grader.assignment.table import Assignment
from grader.cuda_cpp.header import header_name, prototype
from grader.errors import AuthorError

STARTER = "starter.cu"
MARK = "// grader: "

_TOP = """\
{mark}{slug}
// {title}, in CUDA C++. Made from starter.py; README.md says how this is compiled and called.
//
// The texts are those of the functions in Python that your launchers stand for: "return" is what
// the last tensors before `stream` get, "raises ValueError" is `return Status::BAD_INPUT`, None is
// a null pointer, and M, N, ... are the sizes in `shape`. The rules that hold everywhere, dtypes
// among them, are in README.md.
//
// To begin with a problem, delete the lines #if 0 and #endif around it. What stays between them
// counts as missing and costs only its own points.

#include "{header}"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

using namespace grader;
"""


def write_starter(assignment: Assignment, folder: Path) -> str:
    """Return the starter in CUDA C++.

    Args:
        assignment: what `folder/assignment.toml` says.
        folder: with `starter.py`, whose docstrings become comments.

    Raises:
        AuthorError: if `starter.py` does not define an export that has a launcher.
    """
    texts = _docstrings(folder / "starter.py")
    slug = assignment.slug
    parts = [_TOP.format(mark=MARK, slug=slug, title=assignment.title, header=header_name(slug))]
    for number, problem in enumerate(assignment.problems, 1):
        heading = f"// {number} · {problem.name}: {problem.title}"
        parts.append(f"\n// {'-' * 97}\n{heading}\n")
        for launcher in problem.launchers:
            if launcher.name not in texts:
                raise AuthorError(f"{folder / 'starter.py'}: does not define {launcher.name}")
            parts.append(_stub(launcher, texts[launcher.name]))
    return "".join(parts)


def refresh_starter(assignment: Assignment, folder: Path) -> bool:
    """Write `starter.cu`; return whether it has changed."""
    path = folder / STARTER
    text = write_starter(assignment, folder)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def _docstrings(path: Path) -> dict[str, str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name: ast.get_docstring(node) or ""
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }


def _stub(launcher: Launcher, text: str) -> str:
    comment = textwrap.indent(text, "// ", lambda line: True).replace("// \n", "//\n")
    declaration = prototype(launcher).replace("grader::", "")
    return f"\n{comment}\n#if 0\n{declaration} {{\n  return Status::NOT_IMPLEMENTED;\n}}\n#endif\n"
