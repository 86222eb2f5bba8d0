"""Writes `solution.py` out of the kernels in `kernels/`, so that both are the same code.

Takes: the files of `kernels/` that the problems need. Gives: one module without relative imports,
which can enter a box alone. Does not cover: right or wrong (see `cases.py`); speed.

    python reference/gpu_kernels/build.py

writes it anew; a test compares. Left out are oracles, arithmetic and docstrings of modules. A name
that two files define differently is given its file's name in front; one that they define by the
same text stands once.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parents[1] / "kernels"

SHARED = ("checks", "launch", "sums")
OPERATIONS = (
    "matrix_add",
    "softmax",
    "rmsnorm",
    "layernorm",
    "cross_entropy",
    "matmul",
    "flash_attention",
    "flash_attention_backward",
)
LEFT_OUT = re.compile(r"naive_\w+|bytes_moved|flops|check_targets|cross_entropy")

HEAD = '''"""The reference: the kernels of `kernels/` in one file. `build.py` makes it."""

# ruff: noqa: PLR0913 - a kernel has a parameter for each stride of each tensor

from collections.abc import Mapping

import torch
import triton
import triton.language as tl
'''

TAIL = '''
def cross_entropy(
    x_MV: torch.Tensor, target_M: torch.Tensor, *, ignore_index: int = -100
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss and its gradient, a new tensor: logits are a caller's, and stay."""
    check_tensor("x", x_MV, rank=2, dtypes=FLOATS)
    dx_MV = torch.empty(x_MV.shape, dtype=x_MV.dtype, device=x_MV.device)
    return cross_entropy_into(x_MV, target_M, dx_MV, ignore_index=ignore_index), dx_MV
'''
"""What the assignment asks for in another form than the kernel has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One definition of a file, with the comments above and the docstring below it.

    Attributes:
        file: name of the file, without its ending.
        names: what it defines.
        text: its source.
    """

    file: str
    names: tuple[str, ...]
    text: str


def pieces_of(file: str, source: str) -> list[Piece]:
    """Return the definitions of a file, in order.

    Raises:
        ValueError: a statement is neither definition, import nor docstring.
    """
    lines = source.splitlines()
    found: list[Piece] = []
    begin = 0
    for node in ast.parse(source).body:
        text = "\n".join(lines[begin : node.end_lineno]).strip("\n")
        begin = node.end_lineno or 0
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if found:  # the docstring of a constant
                last = found.pop()
                found.append(Piece(file=file, names=last.names, text=f"{last.text}\n{text}"))
            continue
        found.append(Piece(file=file, names=_defined(node), text=text))
    return [piece for piece in found if not LEFT_OUT.fullmatch(piece.names[0])]


def _defined(node: ast.stmt) -> tuple[str, ...]:
    match node:
        case ast.FunctionDef(name=name):
            return (name,)
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return (name,)
        case ast.Assign(targets=[ast.Tuple(elts=several)]):
            return tuple(ast.unparse(one) for one in several)
    raise ValueError(f"line {node.lineno}: neither definition, import nor docstring")


def joined(pieces: list[Piece]) -> str:
    """Return the text of all pieces, in which every name has one meaning."""
    texts = {(name, piece.text) for piece in pieces for name in piece.names}
    ambiguous = {name for name, count in Counter(name for name, _ in texts).items() if count > 1}
    written: set[str] = set()
    parts: list[str] = []
    for piece in pieces:
        text = piece.text
        own = {n for other in pieces if other.file == piece.file for n in other.names} & ambiguous
        for name in sorted(own):
            text = re.sub(rf"\b{name}\b", _with_file(piece.file, name), text)
        if text not in written:
            parts.append(text)
        written.add(text)
    return "\n\n\n".join(parts)


def _with_file(file: str, name: str) -> str:
    return f"{file.upper()}_{name}" if name.isupper() else f"_{file}_{name.lstrip('_')}"


def build() -> str:
    """Return the text of `solution.py`."""
    pieces = [
        piece
        for file in (*SHARED, *OPERATIONS)
        for piece in pieces_of(file, (KERNELS / f"{file}.py").read_text(encoding="utf-8"))
    ]
    config = str(HERE.parents[1] / "pyproject.toml")
    command = [sys.executable, "-m", "ruff", "format", "--config", config, "-"]
    formatted = subprocess.run(
        command,
        input=f"{HEAD}\n{joined(pieces)}\n\n{TAIL}",
        capture_output=True,
        text=True,
        check=True,
        cwd=HERE,
    )
    return formatted.stdout


if __name__ == "__main__":
    (HERE / "solution.py").write_text(build(), encoding="utf-8", newline="\n")
