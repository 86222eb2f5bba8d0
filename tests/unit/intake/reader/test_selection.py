"""What graded cells get of the other cells, and what of a module is left out."""

import ast
import json
from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grader.intake.reader.assembly import Module, Wanted
from grader.intake.reader.cells import read_cells
from grader.intake.reader.serve import Notebook, assemble, read_files
from tests.unit.intake.work import code, notebook, prose

OWN = frozenset({"kv_cache", "submission"})
CHECK = code("from grader.student import check\n\ncheck('f', f)", "scratch")


def read(*cells: Any, exports: Collection[str] = (), cuda: bool = False, **top: Any) -> Notebook:
    """Read a notebook; a text is a cell without tags."""
    forms = [code(cell) if isinstance(cell, str) else cell for cell in cells]
    wanted = Wanted(exports=frozenset(exports), allowed=frozenset({"einops"}), own=OWN, cuda=cuda)
    return assemble(read_cells(notebook(forms, **top)), wanted)


def text_of(module: Module) -> str:
    return "\n".join(line.text for line in module.lines if line.text.strip())


def read_module(text: str, exports: Collection[str] = (), **beside: str) -> tuple[str, Module]:
    """Return the text of a module, and what was read."""
    allowed = frozenset({"einops", *beside})
    wanted = Wanted(exports=frozenset(exports), allowed=allowed)
    files = [("kv_cache.py", text), *((f"{name}.py", other) for name, other in beside.items())]
    module = read_files(files, wanted)["kv_cache.py"]
    return "\n".join(line.text for line in module.lines), module


def export(source: str) -> dict[str, Any]:
    return code(source, "export")


def test_helpers_in_untagged_cells_are_taken_with_what_they_use() -> None:
    module = read(
        "import torch\nimport math",
        prose("# Helpers"),
        "SCALE = math.sqrt(2)\nMASK = torch.tril(torch.ones(4, 4))\nprint(MASK)",
        "def _mask(x):\n    return x * MASK\n\ndef unused(): ...",
        export("def f(x):\n    return _mask(x) * SCALE"),
        "f(torch.randn(3))\nx = torch.randn(3)",
        CHECK,
    ).module
    assert text_of(module) == (
        "import torch\nimport math\nSCALE = math.sqrt(2)\nMASK = torch.tril(torch.ones(4, 4))\n"
        "def _mask(x):\n    return x * MASK\ndef f(x):\n    return _mask(x) * SCALE"
    )
    assert module.notices == [
        "graded as well, because graded cells use it: `torch`, `math` (code cell 1), `SCALE`, "
        "`MASK` (code cell 2), `_mask` (code cell 3)",
        "not graded, because no graded code uses it: `unused` (code cell 3), `x` (code cell 5)",
        "not run where work is graded: `print(MASK)` (code cell 2), `f(torch.randn(3))` "
        "(code cell 5)",
    ]
    assert not module.damaged


@pytest.mark.parametrize(
    ("beside", "graded", "taken"),
    [
        ("T = {}\nfor i in range(4):\n    T[i] = i", "def f(): return T", ["T", "for"]),
        ("T = []\nT.append(1)\nU = []\nU.append(2)", "def f(): return T", ["T = []", "T.append"]),
        ("N = 1\nN += 1", "def f(): return N", ["N = 1", "N += 1"]),
        ("a, b = 1, 2", "def f(): return b", ["a, b"]),
        ("from math import *", "def f(): return sqrt(2)", ["from math import *"]),
        ("from math import *", "def f(): return 2", []),
        ("N = 3", "def f(x=N): return x", ["N = 3"]),
        ("def base(): ...", "F = base\ndef f(): ...", ["def base"]),
        ("x = 1\nN = 2", "def f(x): return [N for N in x]", []),
        ("import math as m", "@m.x\nclass A: ...", ["import math as m"]),
        ("class B: ...", "class A(B): ...", ["class B"]),
        ("if True:\n    K = 1\nelse:\n    K = 2", "def f(): return K", ["if True", "K = 1"]),
        ("try:\n    import tqdm\nexcept ImportError:\n    tqdm = list", "def f(): tqdm", ["try"]),
        ("def h(): ...\nh = wrap(h)\ndef wrap(x): ...", "def f(): return h", ["def h", "h = wrap"]),
        ("def f(): return 'old'", "def f(): return 'new'", []),
    ],
)
def test_what_a_graded_cell_takes(beside: str, graded: str, taken: list[str]) -> None:
    for cells in ((beside, export(graded)), (export(graded), beside)):
        text = text_of(read(*cells).module)
        for start in taken:
            if start != "h = wrap":  # it needs what is defined after it
                assert start in text
        if not taken:
            assert text == text_of(read(export(graded)).module)


@pytest.mark.parametrize(
    "patch",
    [
        "def g(self): ...\nA.g = g",
        "setattr(A, 'g', 1)",
        "def to(cls): return setattr\n@to(A)\ndef g(self): ...",
    ],
)
def test_methods_that_a_later_cell_adds_to_a_class_are_taken(patch: str) -> None:
    cells = (export("class A: ...\ndef f(): return A()"), f"{patch}\nA().g()")
    assert text_of(read(*cells).module) == f"class A: ...\ndef f(): return A()\n{patch}"


def test_a_lost_tag_costs_nothing_where_a_problem_needs_the_name() -> None:
    cells = (export("def f(): ..."), "def g(): return 1\ng()\ndef plot(): ...")
    assert "def g" not in text_of(read(*cells).module)
    module = read(*cells, exports=("f", "g")).module
    assert text_of(module) == "def f(): ...\ndef g(): return 1"


def test_a_name_that_only_a_scratch_cell_defines_is_named() -> None:
    cells = (export("def f(): return h()"), code("import x\ndef h(): ...", "scratch"))
    (damaged,) = read(*cells).module.damaged
    assert (damaged.kind, damaged.names, damaged.place) == (
        "not_graded",
        ("h",),
        "code cell 2, line 2",
    )
    assert damaged.message == (
        "`h` is defined only in a cell that is not graded, but `f` uses it: remove the tag "
        "`scratch`, or move it elsewhere"
    )
    assert not read(*cells, "def h(): ...").module.damaged
    (wanted,) = read(
        *cells[:1], "def h(): ...", code("def g(): 1", "scratch"), exports="fg"
    ).module.damaged
    assert "a problem needs it" in wanted.message


def test_cells_are_called_as_the_notebook_shows_them() -> None:
    cells = [{**code("x = ("), "execution_count": n} for n in (7, 3, 3, None)]
    places = [damaged.place for damaged in read(*cells, "def f(): ...").module.damaged]
    assert places == [
        f"{cell}, line 1" for cell in ("In [7]", "code cell 2", "code cell 3", "code cell 4")
    ]


def test_one_broken_cell_costs_its_names_and_what_is_built_on_them() -> None:
    module = read(
        export("def f(): ..."),
        export("class Base:\n    x = (1,\n\ndef other(): ..."),
        export("class Derived(Base): ..."),
        export("def g(): return Base"),
        "def broken_but_unused(:\n    pass",
        exports=("f", "g", "Derived"),
    ).module
    assert text_of(module) == "def f(): ...\ndef other(): ...\ndef g(): return Base"
    (damaged,) = module.damaged
    assert damaged.names == ("Base", "Derived")
    assert module.notices == ["code cell 2, line 2: SyntaxError: '(' was never closed: `x = (1,`"]


def test_marks_of_a_merge_conflict_are_called_that() -> None:
    conflict = (
        "def g():\n<<<<<<< HEAD\n    return 1\n=======\n    return 2\n>>>>>>> b\ndef h(): ..."
    )
    for module in (read("def f(): ...", conflict).module, read_module(conflict)[1]):
        (damaged,) = module.damaged
        assert (damaged.kind, damaged.names) == ("conflict", ("g",))
        assert damaged.place.endswith(", line 2")
        assert "merge conflict" in damaged.message
        assert "def h" in text_of(module)


def test_files_that_cells_write() -> None:
    found = read(
        "%%writefile kv_cache.py\nimport tools\ndef f(): return tools.g()",
        "%%file /content/tools.py\ndef g(): return 0",
        "%%writefile tools.py\nimport matplotlib\ndef g(): return h()",
        "%%writefile -a tools.py\ndef h(): ...",
        "from kv_cache import *\nimport tools\nprint(f())",
    )
    assert text_of(found.module) == "import tools\ndef f(): return tools.g()"
    assert [(line.cell, line.line) for line in found.module.lines][1:] == [(1, 2), (1, 3)]
    assert list(found.files) == ["tools.py"]
    assert text_of(found.files["tools.py"]) == "def g(): return h()\ndef h(): ..."
    assert not found.module.damaged
    assert "file of its own: `tools.py` (code cell 3)" in found.module.notices[0]


def test_a_notebook_that_imports_its_work_from_a_file_of_its_own_name() -> None:
    module = read("from kv_cache import f, g\nf()", "def g(): ...", exports=("f", "g")).module
    assert text_of(module) == "def g(): ..."
    (damaged,) = module.damaged
    assert (damaged.kind, damaged.names) == ("import", ("f",))
    assert "hand in the file that does" in damaged.message


def test_the_only_file_that_a_notebook_writes_is_its_module() -> None:
    found = read("%%writefile my_solution.py\ndef f(): ...", "!python my_solution.py")
    assert text_of(found.module) == "def f(): ..."
    assert not found.files


CUDA_CELLS = (
    "%load_ext nvcc4jupyter",
    "%%cuda\nint main() {}",
    '%%writefile k.cu\n#include "k.cuh"\n__global__ void k() {}',
    "%%writefile k.cuh\nint n;",
)


def test_cuda_cells_are_the_source_where_that_is_graded() -> None:
    assert read(*CUDA_CELLS, cuda=True).cuda == {
        "k.cu": '\n#include "k.cuh"\n__global__ void k() {}',
        "k.cuh": "\nint n;",
    }
    assert read("%%cu\nint a;", "%%cuda\nint b;", cuda=True).cuda == {".cu": "\nint a;\n\nint b;"}
    python = read(*CUDA_CELLS, "def f(): ...", cuda=True, exports=("f",))
    assert not python.cuda
    (notice, *_) = read(*CUDA_CELLS, "def f(): ...").module.notices
    assert notice.startswith("CUDA C++, which is not graded here")
    assert "`%%cuda` (code cell 2), `%%writefile k.cu` (code cell 3)" in notice


def test_nan_in_outputs_and_kernels_of_any_name() -> None:
    cell = {**code("def f(): ..."), "outputs": [{"data": [float("nan"), float("-inf")]}]}
    assert "NaN" in json.dumps(cell)
    for kernel in (
        {"name": "scala-course", "language": "python"},
        {"name": "ir", "language": "Python 3"},
        {"name": "conda-root-py"},
        {"name": None, "language": None},
    ):
        for info in (None, {}, {"name": "python", "version": "3.12"}):
            metadata = {"kernelspec": kernel, "language_info": info}
            assert text_of(read(cell, metadata=metadata).module) == "def f(): ..."
    assert text_of(read(cell, metadata=None).module) == "def f(): ..."


PLOTS = """\
import matplotlib.pyplot as plt, math
from tqdm import tqdm

def f(x):
    return math.sqrt(x)

def show(xs):
    plt.plot(xs)

for i in tqdm(range(3)):
    print(f(i))
fig, ax = plt.subplots()
ax.plot([1])
show([1])
print(f(2))
"""


def test_imports_for_plots_go_from_a_module_with_what_only_uses_them() -> None:
    text, module = read_module(PLOTS, exports=("f",))
    assert text == (
        "import math\n\n\ndef f(x):\n    return math.sqrt(x)\n\ndef show(xs):\n    plt.plot(xs)\n"
        "\n\n\n\n\n\nprint(f(2))\n"
    )
    assert not module.damaged
    assert module.notices == [
        "not graded, because no graded code uses it: `ax` (kv_cache.py, line 12)",
        "not run where work is graded: `for i in tqdm(range(3)):` (kv_cache.py, line 10), "
        "`ax.plot([1])` (kv_cache.py, line 13), `show([1])` (kv_cache.py, line 14)",
        "left out, because it is not there where work is graded, and no graded code uses it: "
        "`matplotlib.pyplot` (kv_cache.py, line 1), `tqdm` (kv_cache.py, line 2)",
    ]


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from tqdm import tqdm\ndef f(x):\n    for i in tqdm(x): ...", "tqdm"),
        ("import pandas as pd\nDATA = pd.DataFrame()\ndef f(): return DATA", "pandas"),
        ("import seaborn.x\ndef g(): seaborn\ndef f(): return g()", "seaborn.x"),
        ("from sklearn import *\ndef f(): return pca()", "sklearn"),
    ],
)
def test_an_import_that_graded_code_uses_stays_and_is_named(source: str, module: str) -> None:
    text, read = read_module(source, exports=("f",))
    assert text == source
    (damaged,) = read.damaged
    assert damaged.kind == "import"
    assert damaged.place == "kv_cache.py, line 1"
    assert damaged.message.startswith(f"ModuleNotFoundError: No module named '{module}' where")


@pytest.mark.parametrize(
    "source",
    [
        "import torch, numpy as np, triton, einops, helpers, os\nfrom harness import x\nplt.y()",
        "try:\n    import tqdm\nexcept ImportError:\n    tqdm = list\ndef f(): return tqdm([1])",
        "if __name__ == '__main__':\n    import pandas\n    pandas.x()",
        "from . import x",
        "def f():\n    import pandas",
        "'''doc'''\nfrom __future__ import annotations\nimport math",
        "x = 1\n\x0c\ny = 2",
    ],
)
def test_modules_with_nothing_to_leave_out_stay_as_they_are(source: str) -> None:
    text, module = read_module(source, helpers="x = 1")
    assert text == source
    assert not module.notices


def test_an_exported_notebook_is_a_module() -> None:
    source = (
        "#!/usr/bin/env python\n# coding: utf-8\n\n# In[1]:\n\n\n"
        "get_ipython().run_line_magic('matplotlib', 'inline')\n!pip install x\n%cd /content\n"
        "# In[2]:\n\n\ndef f(): ...\n\n# %%\nfrom grader.student import check\ncheck('f', f)\n"
        "display(f)\n"
    )
    text, module = read_module(source)
    assert text.count("\n") == source.count("\n")
    assert ast.unparse(ast.parse(text)) == "def f():\n    ..."
    assert not module.damaged


def test_a_module_keeps_its_lines_around_a_syntax_error() -> None:
    source = "import math\ndef f():\n    return (1\n\nclass A:\n    x = 1\n\nN = 3\n"
    text, module = read_module(source)
    assert text == "import math\n\n\n\nclass A:\n    x = 1\n\nN = 3\n"
    assert [(d.names, d.place) for d in module.damaged] == [(("f",), "kv_cache.py, line 3")]


def test_modules_beside_the_graded_one_lose_what_nobody_needs() -> None:
    tools = "import matplotlib.pyplot as plt\ndef g(): ...\ndef plot(): plt.plot()\nx = = 1"
    files = [("kv_cache.py", "from tools import g\ndef f(): return g()"), ("tools.py", tools)]
    made = read_files(files, Wanted(allowed=frozenset({"tools"})))["tools.py"]
    assert text_of(made) == "def g(): ...\ndef plot(): plt.plot()"
    assert [d.kind for d in made.damaged] == ["syntax"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from([*PLOTS.split("\n"), "(", '"""', "x = 1"])).map("\n".join)
)
def test_any_text_becomes_a_module_that_compiles_line_by_line(source: str) -> None:
    source = source.replace("\0", "").replace("\r", "")
    text, _ = read_module(source)
    compile(text, "module", "exec")
    assert text.count("\n") == source.count("\n")


# Notebooks put together from parts: (source, names it defines, names it uses).
_NAMES = ["C0", "C1", "T0", "h0", "h1", "h2", "g0", "g1"]
_NOISE = [
    "print('noise')",
    "plt.plot([1])",
    "%matplotlib inline",
    "!pip install noise",
    "check('g0', g0)",
    "y = g0(2)",
    "for i in range(3):\n    print(i)",
    "assert 'noise'",
    "get_ipython().system('ls')",
    "with open('noise') as file:\n    text = file.read()",
]
_BROKEN = ["def b(:\n    pass", "b = (1,", "if True\n    b = 1", "class b\n", "<<<<<<< HEAD\nb = 1"]


@st.composite
def _cells(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, set[str]], bool]:
    """Return cells, the names that each definition uses, and whether graded cells are tagged."""
    tagged = draw(st.booleans())
    parts: list[tuple[str, str]] = [("imports", "import torch\nimport matplotlib.pyplot as plt")]
    uses: dict[str, set[str]] = {}
    for name in _NAMES:
        used = set() if name < "a" else draw(st.sets(st.sampled_from(_NAMES), max_size=3))
        uses[name] = used
        source = f"def {name}(x):\n    return [x, {', '.join(sorted(used))}]"
        if name < "a":
            source = {"C0": "C0 = torch.ones(2)", "C1": "C1 = 3"}.get(name, "T0 = {}\nT0[1] = 2")
        parts.append((name, source))
    parts += [("noise", noise) for noise in draw(st.lists(st.sampled_from(_NOISE), max_size=4))]
    parts += [("broken", text) for text in draw(st.lists(st.sampled_from(_BROKEN), max_size=2))]
    parts = [parts[0], *draw(st.permutations(parts[1:]))]
    cells = []
    for name, source in parts:
        tags = ["export"] if tagged and name.startswith("g") else []
        joined = not tags and name != "noise" and draw(st.booleans())
        noise = draw(st.sampled_from(_NOISE)) if joined and not source.startswith("<") else ""
        cells.append(code(f"{source}\n{noise}" if noise else source, *tags))
    return cells, uses, tagged


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(_cells(), st.booleans())
def test_whatever_graded_code_uses_is_there_and_nothing_else_runs(
    made: tuple[list[dict[str, Any]], dict[str, set[str]], bool], known: bool
) -> None:
    cells, uses, _ = made
    module = read(*cells, exports=("g0", "g1") if known else ()).module
    text = "\n".join(line.text for line in module.lines)
    tree = ast.parse(text)
    compile(tree, "module", "exec")
    defined = {
        node.name if isinstance(node, ast.FunctionDef) else ast.unparse(node.targets[0])
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.Assign)
    }
    needed, waiting = set(), ["g0", "g1"]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += uses[name]
    assert needed <= defined
    assert ("T0" not in needed) or "T0[1] = 2" in text
    assert ("C0" not in needed) or "import torch" in text
    assert not defined & {"y", "text", "b"}
    effects = (ast.Expr, ast.For, ast.With, ast.Assert)
    assert not [ast.unparse(node) for node in tree.body if isinstance(node, effects)]
    places = [(line.cell, line.line) for line in module.body]
    assert places == sorted(places)
    assert "matplotlib" not in text


def test_what_a_decorator_or_a_called_function_makes_is_needed() -> None:
    module = read(
        "ALL = []",
        "@ALL.append\ndef _one(x):\n    return x",
        "def _start():\n    global BASE\n    BASE = 1",
        "_start()",
        export("def f(x):\n    return ALL[0](x) * BASE"),
        exports=("f",),
    ).module
    assert "@ALL.append\ndef _one" in text_of(module)
    assert "\n_start()\n" in text_of(module)


def test_a_decorator_from_a_module_makes_nothing_needed() -> None:
    module = read(
        "import functools\nimport matplotlib.pyplot as plt",
        "@functools.cache\ndef draw(n):\n    return plt.plot([n])",
        export("@functools.cache\ndef f(x):\n    return x"),
        exports=("f",),
    ).module
    assert "draw" not in text_of(module)
    assert not module.damaged


def test_a_called_function_that_changes_a_bound_name_is_not_run() -> None:
    text = text_of(
        read(
            "BASE = None",
            "def train():\n    global BASE\n    BASE = 1",
            "train()",
            "def f(x):\n    return BASE",
            exports=("f",),
        ).module
    )
    assert "\ntrain()" not in text


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nmatch sys.platform:\n    case 'never':\n        N = 1\n    case other:\n"
        "        N = len(other)",
        "match {'n': 1, 'm': [2, 3]}:\n    case {'n': N, 'm': [first, *more], **rest}:\n"
        "        N = [first, more, rest]",
        "if __name__ == '__main__':\n    N = 1\nelse:\n    N = 2",
        "if __name__ != '__main__':\n    N = 1",
        "try:\n    N = 1\nexcept* ValueError as errors:\n    N = errors",
    ],
)
def test_what_importing_runs_is_taken(source: str) -> None:
    """A name that a pattern binds is defined, and so is one of the branch that importing takes."""
    for cells in ([export("def f(): return N"), source], [source, "def f(): return N"]):
        module = read(*cells, exports="f").module
        assert source.split("\n")[-1] in text_of(module)
        assert not module.damaged


@pytest.mark.parametrize("test", ["__name__ == '__main__'", "'__main__' == __name__ and N"])
def test_a_name_that_only_a_script_defines_is_named(test: str) -> None:
    guard = f"if {test}:\n    import os\n    N, _ = 1, os"
    want = (
        '`N` is defined only under `if __name__ == "__main__":`, which grading skips, but `f` '
        "uses it: move it elsewhere"
    )
    (of_cell,) = read("def f(): return N", guard, exports="f").module.damaged
    (of_file,) = read_module(f"def f(): return N\n{guard}", "f")[1].damaged
    assert (of_cell.message, of_cell.place) == (want, "code cell 2, line 1")
    assert (of_file.message, of_file.place) == (want, "kv_cache.py, line 2")
    text = f"def f(): return N\nN = 1\n{guard}"
    assert read_module(text, "f")[0] == text
    assert not read_module(text, "f")[1].notices


def test_a_name_that_only_an_exported_cell_with_a_magic_defines_is_named() -> None:
    cell = "get_ipython().run_cell_magic('time', '', 'N = 1\\ndef g(): ...\\n')"
    module = read_module(f"def f(): return N\n{cell}", "f")[1]
    (damaged,) = module.damaged
    assert (damaged.names, damaged.place) == (("N",), "kv_cache.py, line 2")
    assert damaged.message == (
        "`N` is defined only in a cell with a `%%` magic, which only notebooks run, but `f` uses "
        "it: hand in the notebook itself, or take that first line out of the cell and export it "
        "again"
    )
    (export,) = read_module(cell, "g")[1].damaged
    assert "but a problem needs it" in export.message


@pytest.mark.parametrize("first", ["# a notebook", "import math", '"""A text."""', "def g(): ..."])
def test_a_late_future_import_does_not_cost_the_file(first: str) -> None:
    text, module = read_module(
        f"{first}\nfrom __future__ import annotations\ndef f(x: Later): return 1\ndef h(:", "f"
    )
    assert "def f(x: Later): return 1" in text
    assert text.count("\n") == 3
    assert [damaged.names for damaged in module.damaged] == [("h",)]
    if not first.startswith("def"):
        assert text.startswith("from __future__ import annotations")


def test_what_only_a_notebook_awaits_costs_what_uses_it() -> None:
    cells = (
        "def f(): return 1",
        "import asyncio\nresult = await g(\n    2,\n)\nx = 1\nasync with a as b:\n    b",
    )
    module = read(*cells, exports="f").module
    assert module.notices == [
        "not graded, because no graded code uses it: `x` (code cell 2)",
        "left out, because only a notebook understands it: `result = await g(`, "
        "`async with a as b:` (code cell 2)",
    ]
    assert not module.damaged
    (damaged,) = read(*cells, "def h(): return result", exports="fh").module.damaged
    assert (damaged.names, damaged.place) == (("result",), "code cell 2, line 2")
    assert damaged.message.startswith(
        "SyntaxError: 'await' outside function, as only notebooks can: do without `await`: `result"
    )


def test_a_name_that_is_defined_further_down_is_said_to_be_there() -> None:
    (damaged,) = read("def f(x: T): ...", "import torch\nT = torch.Tensor").module.damaged
    assert damaged.message == (
        "NameError: name 'T' is not defined before code cell 2, line 2, which is further down: "
        "move that up: `def f(x: T): ...`"
    )


def test_what_no_student_misses_is_not_told() -> None:
    checking = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from harness import Model"
    assert read(checking, export("def f(x: 'Model'): ...")).module.notices == []
