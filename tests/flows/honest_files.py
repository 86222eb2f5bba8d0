"""Files as honest students hand them in, made from the reference solution of `kv_cache`.

Each has the shape of a public report about some other grader: nothing in it is wrong but the way it
was written, saved, exported or packed.
"""

import ast
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SLUG = "kv_cache"
SOLUTION = (ROOT / "reference" / SLUG / "solution.py").read_text(encoding="utf-8")
NOTHING: frozenset[str] = frozenset()

Make = Callable[[Path], Path]
"""Writes into an empty folder, and returns what a student or a teaching assistant names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Honest:
    """One way of handing in, and what a reasonable person expects of it.

    Attributes:
        make: for a single student, writes what `check` and `pack` are given, too.
        fails: by student, the problems that fail in `check` and when graded; all others pass.
        is_class: whether a teaching assistant got it: there is nothing for `check` and `pack`.
        packs: whether `pack` finds nothing to warn of.
        says: what `pack` must name, all of it.
    """

    make: Make
    fails: Mapping[str, frozenset[str]] = field(default_factory=lambda: {"kv_cache": NOTHING})
    is_class: bool = False
    packs: bool = True
    says: tuple[str, ...] = ()


def cell(source: str, *tags: str, outputs: Sequence[Any] = ()) -> dict[str, Any]:
    """Return a code cell of a notebook, as JSON."""
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {"tags": list(tags)} if tags else {},
        "outputs": list(outputs),
        "source": source,
    }


def write_notebook(path: Path, cells: Sequence[dict[str, Any]], kernel: str = "python3") -> Path:
    """Write a notebook; `kernel` is the name of its kernel, whose language is Python."""
    notebook = {
        "cells": list(cells),
        "metadata": {
            "kernelspec": {"display_name": kernel, "language": "python", "name": kernel},
            "language_info": {"name": "python", "version": "3.12.3"},
        },
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    path.write_text(json.dumps(notebook), encoding="utf-8")  # writes NaN, as browsers' cells do
    return path


def pieces() -> list[tuple[bool, str]]:
    """Return the solution in pieces: whether one is private, and its source, in order."""
    lines = SOLUTION.splitlines()
    found: list[tuple[bool, str]] = []
    for node in ast.parse(SOLUTION).body:
        begin = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        source = "\n".join(lines[begin - 1 : node.end_lineno])
        if not hasattr(node, "name"):
            joined = found and found[-1][0] is False and "def " not in found[-1][1]
            if joined:
                found[-1] = (False, f"{found[-1][1]}\n{source}")
                continue
        found.append((getattr(node, "name", "").startswith("_"), source))
    return found


def module(text: str, name: str = f"{SLUG}.py") -> Make:
    """Return what writes one module."""

    def make(folder: Path) -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return make


def notebook(*cells: dict[str, Any], name: str = f"{SLUG}.ipynb", kernel: str = "python3") -> Make:
    """Return what writes one notebook."""
    return lambda folder: write_notebook(folder / name, cells, kernel)


def archive(members: Mapping[str, str], name: str) -> Make:
    """Return what writes one zip."""

    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / name, "w") as file:
            for member, text in members.items():
                file.writestr(member, text)
        return folder / name

    return make


def _zip_in_folder(folder: Path) -> Path:
    inner = folder / "class" / "Jane Doe_123456_assignsubmission_file_"
    inner.mkdir(parents=True)
    archive({f"{SLUG}.py": SOLUTION}, f"{SLUG}-submission.zip")(inner)
    return folder / "class"


def _untagged_helpers() -> list[dict[str, Any]]:
    own = [cell(source) if private else cell(source, "export") for private, source in pieces()]
    checks = "from grader.student import check\n\ncheck('KVCache', KVCache)"
    return [cell("!pip install einops\nprint('hello')"), *own, cell(checks, "scratch")]


def _plain_cells() -> list[dict[str, Any]]:
    return [cell(source) for _, source in pieces()]


def _unfinished_last_cell() -> list[dict[str, Any]]:
    own = [cell(s, "export") for _, s in pieces() if not s.startswith("def kv_bytes")]
    return [*own, cell("def kv_bytes(config, *, batch_size, length):\n    total = (2 *", "export")]


def _with(old: str, new: str) -> str:
    assert SOLUTION.count(old) == 1, f"the solution no longer holds {old!r} once"
    return SOLUTION.replace(old, new)


NUMPY_NUMBER = """

_exact = kv_bytes


def kv_bytes(config, *, batch_size, length):
    return np.int64(_exact(config, batch_size=batch_size, length=length))
"""
PAIRS = "torch.arange(D // 2, dtype=torch.float64, device=x_BHTD.device)"
STRAY_CALL = "\n\nprint(decode_attention(torch.randn(1, 2), None, None, None))\n"
NO_FILE = "\n\nTABLE = open('measured/table.json').read()\n"
CONVERTED = (
    "#!/usr/bin/env python\n# coding: utf-8\n\n# In[1]:\n\n\n"
    "get_ipython().run_line_magic('matplotlib', 'inline')\n"
    "get_ipython().system('pip install -q triton')\n\n\n# In[2]:\n\n\n"
)
PLOTLY = {
    "output_type": "display_data",
    "metadata": {},
    "data": {"application/vnd.plotly.v1+json": {"data": [{"y": [1.0, float("nan")]}]}},
}
GIT = {f"hw1/.git/objects/{n % 256:02x}/{n:038x}": "x" for n in range(3000)}
STUB = "Name: A Student (astudent1)\nAssignment: HW1\n\nFiles:\n\tOriginal filename: kv_cache.py\n"
BLACKBOARD = {
    "HW1_astudent1_attempt_2026-02-03-10-11-12.txt": STUB,
    "HW1_astudent1_attempt_2026-02-03-10-11-12_kv_cache.py": SOLUTION,
    "HW1_bstudent2_attempt_2026-02-03-11-00-00.txt": STUB,
    "HW1_bstudent2_attempt_2026-02-03-11-00-00_kv_cache.py": "raise SystemExit",
    "HW1_bstudent2_attempt_2026-02-03-12-00-00.txt": STUB,
    "HW1_bstudent2_attempt_2026-02-03-12-00-00_kv_cache.py": SOLUTION,
}
MOODLE = {
    "Ada Example_101_assignsubmission_file_kv_cache.py": SOLUTION,
    "Ada Example_101_assignsubmission_file_utils.py": "X = 1\n",
    "Bob Example_102_assignsubmission_file_kv_cache.py": SOLUTION,
}
BYTES = frozenset({"kv_bytes"})

HONEST: dict[str, Honest] = {
    "plots": Honest(
        make=module(
            _with("import torch\n", "import torch\nimport matplotlib.pyplot as plt\n")
            + "\n\nplt.plot([1, 2])\nplt.savefig('growth.png')\n"
        ),
        says=("matplotlib",),
    ),
    "progress_bar": Honest(make=module(_with("import torch\n", "import torch\nimport tqdm\n"))),
    "nbconvert": Honest(make=module(CONVERTED + SOLUTION)),
    "compiled": Honest(make=module(_with("def _causal(", "@torch.compile\ndef _causal("))),
    "traced": Honest(
        make=module(_with("def _causal(", '@torch.compile(backend="eager")\ndef _causal('))
    ),
    "numpy_number": Honest(
        make=module(_with("import torch\n", "import numpy as np\nimport torch\n") + NUMPY_NUMBER)
    ),
    "stray_call": Honest(make=module(SOLUTION + STRAY_CALL), packs=True),
    "bracket": Honest(
        make=notebook(*_unfinished_last_cell()),
        fails={SLUG: BYTES},
        packs=False,
        says=("kv_bytes",),
    ),
    "helpers": Honest(make=notebook(*_untagged_helpers())),
    "writefile": Honest(
        make=notebook(
            cell(f"%%writefile {SLUG}.py\n{SOLUTION}"),
            cell(f"from {SLUG} import *\nprint(kv_bytes)"),
        )
    ),
    "tensor_constant": Honest(
        make=notebook(
            cell("import torch\nDEVICE = torch.device('cpu')\nPAIRS = torch.arange(4096.0)"),
            *(cell(source.replace(PAIRS, "PAIRS[: D // 2].double()")) for _, source in pieces()),
        )
    ),
    "check_in_cell": Honest(
        make=notebook(
            *(cell(s, "export") for _, s in pieces()),
            cell("from grader.student import check\n\ncheck('KVCache', KVCache)", "export"),
        )
    ),
    "nan_output": Honest(
        make=notebook(*_plain_cells(), cell("3 / 7", outputs=[PLOTLY])),
    ),
    "own_kernel": Honest(make=notebook(*_plain_cells(), kernel="conda-env-llm-py")),
    "git_in_zip": Honest(
        make=archive({f"hw1/{SLUG}.py": SOLUTION, "hw1/README.md": "x", **GIT}, "kv_cache.zip")
    ),
    "moodle_zip": Honest(make=_zip_in_folder, fails={"Jane_Doe_123456": NOTHING}, is_class=True),
    "blackboard": Honest(
        make=archive(BLACKBOARD, "gradebook_HW1.zip"),
        fails={"astudent1": NOTHING, "bstudent2": NOTHING},
        is_class=True,
    ),
    "moodle_flat": Honest(
        make=archive(MOODLE, "moodle.zip"),
        fails={"Ada_Example_101": NOTHING, "Bob_Example_102": NOTHING},
        is_class=True,
    ),
}
"""By name. Names of students are compared by their beginning: sites add what they like."""
