"""The C++ files that students get with an assignment in CUDA C++: its header and its starter.

The header declares the launchers, the functions that the grader calls. Students get it with their
starter, and the grader's compiler includes its own copy before the first line of every submission:
a launcher that is defined with other parameters is a compiler error at the student's line. The
sandboxed process fills the same structures (see `runner.cuda.launchers`; a test compares both
through the C++ compiler).

The starter is made from the one in Python, so both languages ask for the same. Compiling is in
`cuda_cpp.builder`.
"""

import ast
import textwrap
from collections.abc import Sequence
from pathlib import Path

from grader.assignment.launcher import Kind, Launcher, Parameter
from grader.assignment.table import Assignment
from grader.errors import AuthorError

MAX_RANK = 8
DTYPE_CODES = ("FLOAT64", "FLOAT32", "FLOAT16", "BFLOAT16", "INT64", "INT32", "INT16", "INT8")
"""Names of the C++ enumeration, in the order of their values."""

_HEADER_TOP = """\
// Declares what the grader calls. The grader includes its own copy of this file before the first
// line of what you hand in: a definition of another form is an error of the compiler.
#ifndef {guard}
#define {guard}

#include <cstdint>
#include <cuda_runtime.h>

namespace grader {{

enum class Dtype : int32_t {{ {dtypes}, OTHER }};

// What a launcher returns. After BAD_INPUT the caller sees ValueError, after NOT_IMPLEMENTED the
// problem counts as missing, after FAILED or any other value the call counts as a crash.
enum class Status : int32_t {{ OK, BAD_INPUT, NOT_IMPLEMENTED, FAILED }};

// A tensor in the memory of the device. Inputs may have any strides and must stay as they are;
// outputs are contiguous, allocated and not initialised.
struct Tensor {{
  void* data;
  Dtype dtype;
  int32_t rank;
  int64_t shape[{max_rank}];
  int64_t stride[{max_rank}];  // in elements, not bytes
}};
{enums}
}}  // namespace grader

// Launch on `stream`. Check the inputs before: no caller has.
extern "C" {{
"""

_HEADER_BOTTOM = """}}  // extern "C"

#endif  // {guard}
"""

_C_TYPES = {Kind.DOUBLE: "double", Kind.INT64: "int64_t", Kind.BOOL: "bool"}


def header_name(slug: str) -> str:
    """Return the file name of an assignment's header."""
    return f"{slug}.h"


def write_header(slug: str, launchers: Sequence[Launcher]) -> str:
    """Return the text of an assignment's header."""
    guard = f"GRADER_{slug.upper()}_H"
    enums = "".join(f"\n{line}\n" for line in _enumerations(launchers))
    top = _HEADER_TOP.format(
        guard=guard, dtypes=", ".join(DTYPE_CODES), max_rank=MAX_RANK, enums=enums
    )
    prototypes = "".join(f"{prototype(launcher)};\n\n" for launcher in launchers)
    return top + prototypes + _HEADER_BOTTOM.format(guard=guard)


def prototype(launcher: Launcher) -> str:
    """Return the C++ declaration of a launcher, without the semicolon."""
    outputs = [f"const grader::Tensor& {output.name}" for output in launcher.outputs]
    parameters = [*map(_declare, launcher.parameters), *outputs, "cudaStream_t stream"]
    return f"grader::Status {launcher.name}(\n    " + ",\n    ".join(parameters) + ")"


def _declare(parameter: Parameter) -> str:
    name = parameter.name
    if parameter.kind is Kind.CHOICE:
        return f"grader::{_enumeration_name(parameter)} {name}"
    if parameter.kind is Kind.TENSOR:
        return f"const grader::Tensor{'*' if parameter.optional else '&'} {name}"
    kind = _C_TYPES[parameter.kind]
    return f"const {kind}* {name}" if parameter.optional else f"{kind} {name}"


def _enumerations(launchers: Sequence[Launcher]) -> list[str]:
    """Return one C++ enumeration per choice; an unknown word arrives as −1."""
    choices = {
        _enumeration_name(p): p.words for one in launchers for p in one.parameters if p.words
    }
    return [
        f"enum class {name} : int32_t {{ {', '.join(word.upper() for word in words)} }};"
        "  // -1: another word"
        for name, words in choices.items()
    ]


def _enumeration_name(parameter: Parameter) -> str:
    return "".join(part.capitalize() for part in parameter.name.split("_"))


STARTER = "starter.cu"

_STARTER_TOP = """\
// grader: {slug}
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
    """Return the starter in CUDA C++; docstrings of `starter.py` in `folder` become comments.

    Raises:
        AuthorError: if `starter.py` does not define an export that has a launcher.
    """
    texts = _docstrings(folder / "starter.py")
    slug = assignment.slug
    parts = [_STARTER_TOP.format(slug=slug, title=assignment.title, header=header_name(slug))]
    for number, problem in enumerate(assignment.problems, 1):
        heading = f"// {number} · {problem.name}: {problem.title}"
        parts.append(f"\n// {'-' * 97}\n{heading}\n")
        for launcher in problem.launchers:
            if launcher.name not in texts:
                raise AuthorError(f"{folder / 'starter.py'}: does not define {launcher.name}")
            parts.append(_stub(launcher, texts[launcher.name]))
    return "".join(parts)


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
