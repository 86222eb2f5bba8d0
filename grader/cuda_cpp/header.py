"""The C++ header of an assignment, made from its launchers: one source for three readers.

Takes: launchers. Gives: `header_name`, `write_header`. Does not cover: compiling (see
`cuda_cpp.builder`).

Students get the header with their starter, and the compiler of the grader includes its own copy
before the first line of every submission: a function that is defined in another form than the box
calls it in is an error at the student's line. The box fills the same structure (see
`runner.cuda.launchers`; a test compares both through the C++ compiler).
"""

from collections.abc import Iterable

from grader.assignment.launcher import Kind, Launcher, Parameter

MAX_RANK = 8
DTYPE_CODES = ("FLOAT64", "FLOAT32", "FLOAT16", "BFLOAT16", "INT64", "INT32", "INT16", "INT8")
"""Names of the C++ enumeration, in the order of their values."""

_TOP = """\
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

_BOTTOM = """}}  // extern "C"

#endif  // {guard}
"""

_C_TYPES = {Kind.DOUBLE: "double", Kind.INT64: "int64_t", Kind.BOOL: "bool"}


def header_name(slug: str) -> str:
    """Return the file name of an assignment's header."""
    return f"{slug}.h"


def write_header(slug: str, launchers: Iterable[Launcher]) -> str:
    """Return the text of an assignment's header."""
    launchers = tuple(launchers)
    guard = f"GRADER_{slug.upper()}_H"
    enums = "".join(f"\n{line}\n" for line in _enumerations(launchers))
    top = _TOP.format(guard=guard, dtypes=", ".join(DTYPE_CODES), max_rank=MAX_RANK, enums=enums)
    prototypes = "".join(f"{prototype(launcher)};\n\n" for launcher in launchers)
    return top + prototypes + _BOTTOM.format(guard=guard)


def prototype(launcher: Launcher) -> str:
    """Return the C++ declaration of a launcher, without the semicolon."""
    outputs = [f"const grader::Tensor& {output.name}" for output in launcher.outputs]
    words = [*map(_declare, launcher.parameters), *outputs, "cudaStream_t stream"]
    return f"grader::Status {launcher.name}(\n    " + ",\n    ".join(words) + ")"


def _declare(parameter: Parameter) -> str:
    name = parameter.name
    if parameter.kind is Kind.CHOICE:
        return f"grader::{_enumeration_name(parameter)} {name}"
    if parameter.kind is Kind.TENSOR:
        return f"const grader::Tensor{'*' if parameter.optional else '&'} {name}"
    kind = _C_TYPES[parameter.kind]
    return f"const {kind}* {name}" if parameter.optional else f"{kind} {name}"


def _enumerations(launchers: tuple[Launcher, ...]) -> list[str]:
    """Return the enumeration of each choice; a word that is none of them arrives as −1."""
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
