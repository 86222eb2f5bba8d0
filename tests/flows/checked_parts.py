"""Submissions put together from parts, to a tiny assignment; and what loading one comes to.

Its two problems ask for `area(width, height)` and `total(values)`. Each part says which of the two
it costs; all that the others cost must not be more.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from grader.assignment.steps import Call
from grader.assignment.table import Assignment, Check, Limits, Problem
from grader.evidence.faults import LoadFailure, Raised, Stopped, fault_of
from grader.student.public_run import ReplayJob
from tests.flows.honest_files import archive, cell, write_notebook

SLUG = "tiny"
CALLS = {"area": (Call("area", 3, 4), 12), "total": (Call("total", [1, 2, 3]), 6)}
"""By problem: a call, and its value."""


def _problem(name: str) -> Problem:
    check = Check(name="value", title="The value.", points=1)
    return Problem(name=name, title=name, exports=(name,), checks=(check,))


TINY = Assignment(
    schema_version=1,
    slug=SLUG,
    title="Tiny",
    allowed_imports=(),
    limits=Limits(),
    problems=tuple(map(_problem, CALLS)),
)


@dataclass(frozen=True)
class Part:
    """Some code.

    Attributes:
        costs: the problem that gets no points because of it.
        warns: whether `pack` may warn of it.
        tag: that its cell has, whatever the others have.
        in_notebook: whether only a notebook has it; `in_module`, only a module.
    """

    source: str
    costs: str = ""
    warns: bool = False
    tag: str = ""
    in_notebook: bool = False
    in_module: bool = False


@dataclass(frozen=True)
class Answer:
    """One way to answer a problem: cells that belong together, and files beside a module."""

    parts: tuple[Part, ...]
    beside: tuple[tuple[str, str], ...] = ()

    @property
    def costs(self) -> str:
        return "".join(part.costs for part in self.parts)

    @property
    def in_notebook(self) -> bool:
        return any(part.in_notebook for part in self.parts)

    @property
    def in_module(self) -> bool:
        return bool(self.beside) or any(part.in_module for part in self.parts)


def _answer(*sources: str, costs: str = "") -> Answer:
    return Answer((*map(Part, sources[:-1]), Part(sources[-1], costs=costs)))


AREA = "def area(width, height):\n    return "
AREAS = [
    _answer(f"{AREA}width * height"),
    _answer("def _times(a, b):\n    return a * b", f"{AREA}_times(width, height)"),
    _answer("import torch\n\nONES = torch.ones(3)", f"{AREA}int(ONES[0]) * width * height"),
    _answer("def area(width, height):\n    import math\n\n    return math.prod([width, height])"),
    _answer("from math import *", f"{AREA}prod([width, height])"),
    _answer("try:\n    import tqdm\nexcept ImportError:\n    tqdm = None", f"{AREA}width * height"),
    _answer(f"{AREA}-1", f"{AREA}width * height"),
    _answer("import functools", f"@functools.cache\n{AREA}width * height"),
    _answer(
        "from __future__ import annotations",
        "def area(width: Metres, height: Metres) -> Nothing:\n    return width * height",
    ),
    _answer("from typing_extensions import Self", f"class S:\n    a: Self\n\n{AREA}width * height"),
    _answer(
        "import importlib",
        "try:\n    plots = importlib.import_module('matplotlib.pyplot')\n"
        "except ModuleNotFoundError:\n    plots = None",
        f"{AREA}width * height if plots is None else -1",
    ),
    _answer(
        "from importlib.util import find_spec",
        "HAS_PLOTS = find_spec('matplotlib') is not None",
        f"{AREA}-1 if HAS_PLOTS else width * height",
    ),
    _answer(
        "import asyncio",
        "async def _area(a, b):\n    return a * b",
        f"{AREA}asyncio.run(_area(width, height))",
    ),
    _answer(
        "from concurrent.futures import ThreadPoolExecutor",
        "def area(width, height):\n    with ThreadPoolExecutor(2) as pool:\n"
        "        return sum(pool.map(lambda _: width, range(height)))",
    ),
    _answer(
        "class Shape:\n    pass",
        "def _of(self, a, b):\n    return a * b",
        "Shape.of = _of",
        f"{AREA}Shape().of(width, height)",
    ),
    _answer("TABLE = {}", "TABLE.update(one=1)", f"{AREA}TABLE['one'] * width * height"),
    _answer("import os", f"{AREA}width * height if os.environ.get('USER') is None else -1"),
    _answer("import sys", f"{AREA}width * height if len(sys.argv) == 1 else -1"),
    _answer("import torch", f"@torch.no_grad()\n{AREA}int(torch.tensor(width) * height)"),
    Answer(
        (
            Part("%%writefile shapes.py\ndef times(a, b):\n    return a * b", in_notebook=True),
            Part("from shapes import times"),
            Part(f"{AREA}times(width, height)"),
        )
    ),
    Answer(
        (Part("import shapes"), Part(f"{AREA}shapes.times(width, height)")),
        beside=(
            (
                "shapes.py",
                "import matplotlib.pyplot as plt\n\nplt.plot([1])\n1 / 0\n\n\n"
                "def times(a, b):\n    return a * b\n\n\ndef broken(:\n",
            ),
        ),
    ),
    Answer(
        (
            Part("from helpers import times", costs="area"),
            Part(f"{AREA}times(width, height)"),
        ),
        beside=(("helpers.py", "def other():\n    return 1\n\n\ntimes = 1 / 0\n"),),
    ),
    _answer("area = lambda width, height: width * height"),
    _answer("import operator, functools", "area = functools.partial(operator.mul)"),
    _answer(
        "class Area:\n    def __call__(self, width, height):\n        return width * height",
        "area = Area()",
    ),
    _answer(
        "try:\n    from absent_module_of_mine import area\n"
        f"except ImportError:\n    {AREA.replace(chr(10), chr(10) + '    ')}width * height"
    ),
    _answer(
        f"import torch\n\nif torch.cuda.is_available() and False:\n    area = None\nelse:\n"
        f"    {AREA.replace(chr(10), chr(10) + '    ')}width * height"
    ),
    _answer("SIZES = {}", "for n in range(9):\n    SIZES[n] = n", f"{AREA}SIZES[width] * height"),
    _answer(
        "ALL = []", "@ALL.append\ndef _f(a, b):\n    return a * b", f"{AREA}ALL[0](width, height)"
    ),
    _answer(
        f"{AREA}width\n\n\n_first = area\n\n\n{AREA}_first(width, height) * height",
    ),
    _answer(f"{AREA}STATE['n'] * width * height", "STATE = dict(n=0)", "STATE['n'] = 1"),
    _answer(
        "def _start():\n    global BASE\n    BASE = 1", "_start()", f"{AREA}BASE * width * height"
    ),
    _answer(
        "from dataclasses import dataclass",
        "@dataclass\nclass Box:\n    width: int\n    height: int = 0",
        f"{AREA}Box(width, height).width * height",
    ),
    _answer(
        "import os\nos.environ['SCALE'] = '1'", f"{AREA}int(os.environ['SCALE']) * width * height"
    ),
    _answer(
        "import torch\ntorch.set_default_dtype(torch.float64)",
        f"{AREA}int(torch.tensor([3.0]).numel()) * width * height",
    ),
    _answer(
        "import inspect\n\n\ndef _f(a, b):\n    return a * b",
        f"{AREA}len(inspect.getsource(_f)) and width * height",
    ),
    _answer(
        "import typing as t\n\nPair = t.NamedTuple('Pair', [('a', int)])",
        f"{AREA}Pair(width).a * height",
    ),
    _answer(
        "import torch\n\nwith torch.no_grad():\n    ONE = torch.ones(1)",
        f"{AREA}int(ONE) * width * height",
    ),
    _answer("A, *B = 1, 2, 3\n(C := 1)", f"{AREA}A * C * width * height"),
    _answer("X: int = 1; Y = 1", f"{AREA}X * Y * width * height"),
    _answer("Y = [n for n in range(4)]\ndel Y[0]", f"{AREA}Y[0] * width * height"),
    _answer("import unittest.mock as mock", f"{AREA}width * height"),
    _answer(f"{AREA}width *", costs="area"),
    _answer("def area(width, height:\n    return width * height", costs="area"),
    _answer("import pandas as pd", f"{AREA}pd.Series([width]).sum() * height", costs="area"),
    _answer(
        "def area(width, height):\n    import pandas as pd\n\n    return pd.Series([1])",
        costs="area",
    ),
    _answer("import absent_module_of_mine as own", f"{AREA}own.f(width, height)", costs="area"),
    _answer("SCALE = 1 / 0", f"{AREA}SCALE * width * height", costs="area"),
    _answer("SCALE = undefined", f"{AREA}SCALE * width * height", costs="area"),
    _answer(f"@undefined\n{AREA}width * height", costs="area"),
    _answer(f"<<<<<<< HEAD\n{AREA}1\n=======\n{AREA}2\n>>>>>>> theirs", costs="area"),
    _answer("def aera(width, height):\n    return width * height", costs="area"),
    Answer(
        (
            Part("def _secret(a, b):\n    return a * b", tag="scratch", in_notebook=True),
            Part(f"{AREA}_secret(width, height)", costs="area"),
        )
    ),
]
TOTALS = [
    _answer("def total(values):\n    return sum(values)"),
    _answer("total = sum"),
    _answer("START = 0", "def total(values):\n    return START + sum(values)"),
    _answer("import torch", "def total(values):\n    return torch.tensor(values).sum().item()"),
    _answer("import numpy as np", "def total(values):\n    return np.sum(values)"),
]
NOISE = [
    Part("import matplotlib.pyplot as plt"),
    Part("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"),
    Part("from tqdm.auto import tqdm\n\nfor _ in tqdm(range(2)):\n    pass"),
    Part("def show(values):\n    import seaborn\n\n    seaborn.lineplot(values)"),
    Part("def show(values):\n    plt.plot(values)\n\n\nshow([1])"),
    Part("import functools\n\n\n@functools.cache\ndef draw(n):\n    return plt.plot([n])"),
    Part("import google.colab.drive as drive\ndrive.mount('/content')"),
    Part("from absent_module_of_mine import *", warns=True),
    Part("from .beside import thing", warns=True),
    Part("print(area(1))"),
    Part("assert total([1]) == 2, 'no'"),
    Part("print('é ☃', total([1, 2]))"),
    Part("1 / 0"),
    Part("raise SystemExit"),
    Part("exit()"),
    Part("import sys\nsys.exit(3)"),
    Part("values = [", warns=True),
    Part("def unfinished(a, b:\n    return a", warns=True),
    Part("print 'hello'", warns=True),
    Part("<<<<<<< HEAD\nxs = 1\n=======\nxs = 2\n>>>>>>> theirs", warns=True),
    Part("from grader.student import check\n\ncheck('area', area)"),
    Part("import grader\n\ngrader.student.check(area)"),
    Part("display(area(1, 2))"),
    Part("result = await area(1, 2)", warns=True),
    Part("TABLE_OF_MINE = open('measured/table.json').read()"),
    Part("name = input('Your name: ')"),
    Part("import os\nos.makedirs('out', exist_ok=True)\nopen('out/log.txt', 'w').write('x')"),
    Part("import os\nHOME = os.path.expanduser('~/data')\nME = os.environ['USER']"),
    Part("import argparse\nARGS = argparse.ArgumentParser().parse_args()"),
    Part("import logging\nlogging.basicConfig(filename='run.log')\nlogging.error('x')"),
    Part("import torch\ntorch.set_num_threads(1)\ntorch.manual_seed(0)"),
    Part("import warnings\nwarnings.filterwarnings('ignore')"),
    Part("import multiprocessing as mp\nCPUS = mp.cpu_count()"),
    Part("from pathlib import Path\nHERE = Path(__file__).resolve().parent\nHERE.stat()"),
    Part("if __name__ == '__main__':\n    main_of_mine()"),
    Part("class Plot:\n    def show(self):\n        plt.show()"),
    Part("'''Some words about this.'''"),
    Part("import platform, socket\nMACHINE = platform.machine(), socket.gethostname()"),
    Part(
        "import unittest\n\n\nclass T(unittest.TestCase):\n    def test(self):\n        area(1, 2)"
    ),
    Part("def area(width, height):\n    return -1", tag="scratch", in_notebook=True),
    Part("raise SystemExit", tag="scratch", in_notebook=True),
    Part("!pip install einops\nimport math", in_notebook=True),
    Part("%matplotlib inline\nfiles = !ls", in_notebook=True),
    Part("%%time\nprint(area(1, 2))", in_notebook=True),
    Part("%%bash\nls -l", in_notebook=True),
    Part("get_ipython().run_line_magic('matplotlib', 'inline')", in_module=True),
    Part("if True:\n    get_ipython().system('ls')", in_module=True),
]


@dataclass(frozen=True)
class Made:
    """One submission.

    Attributes:
        name: of the file; a module with files beside it is in a zip.
        tagged: whether the cells of the answers have the tag `export`.
    """

    name: str
    parts: tuple[Part, ...]
    beside: tuple[tuple[str, str], ...] = ()
    tagged: frozenset[Part] = frozenset()

    @property
    def costs(self) -> set[str]:
        """The problems that get no points."""
        return {part.costs for part in self.parts} - {""}

    @property
    def warns(self) -> bool:
        """Whether `pack` may warn of something."""
        return any(part.costs or part.warns for part in self.parts)

    def write(self, folder: Path) -> Path:
        """Write it, and return the file that a student names."""
        if self.name.endswith(".ipynb"):
            return write_notebook(folder / self.name, [self._cell(part) for part in self.parts])
        text = "\n\n\n".join(self._plain()) + "\n"
        if self.beside:
            return archive({self.name: text, **dict(self.beside)}, f"{SLUG}.zip")(folder)
        (folder / self.name).write_text(text, encoding="utf-8")
        return folder / self.name

    def _cell(self, part: Part) -> dict[str, Any]:
        tags = [part.tag or ("export" if part in self.tagged else "")]
        return cell(part.source, *filter(None, tags))

    def _plain(self) -> list[str]:
        """Return the sources, with what must be first in a module first."""
        sources = [part.source for part in self.parts]
        return sorted(sources, key=lambda one: not one.startswith("from __future__"))


WRAPS = [
    "{}",
    "{}",
    "{}\n1 / 0",
    "1 / 0\n{}",
    "import seaborn as sns\n{}",
    "# In[2]:\n\n\n{}",
    "{}\n\n\nif __name__ == '__main__':\n    print(area(1, 2))",
]
CELL_WRAPS = [
    *WRAPS,
    "%%time\n{}",
    "%%capture out\n{}",
    "!pip install x\n{}",
    "%load_ext autoreload\n%autoreload 2\n{}",
    "{}\n%timeit area(1, 2)",
    "{}\narea?",
    "for _ in range(2):\n    !ls\n{}",
]


@st.composite
def submissions(draw: st.DrawFn) -> Made:
    """Draw a module or a notebook that answers both problems."""
    form = draw(st.sampled_from(["ipynb", "py"]))
    stem = draw(st.sampled_from([SLUG, SLUG, "work", "hw 1"]))

    def fits(one: Part | Answer) -> bool:
        return not (one.in_module if form == "ipynb" else one.in_notebook)

    area = draw(st.sampled_from([*filter(fits, AREAS)]))
    total = draw(st.sampled_from(TOTALS))
    noise = draw(st.lists(st.sampled_from([*filter(fits, NOISE)]), max_size=5))
    wraps = st.sampled_from(CELL_WRAPS if form == "ipynb" else WRAPS)

    def wrap(part: Part) -> Part:
        special = part.source.startswith(("from __future__", "%%", "<<<"))
        return part if special else replace(part, source=draw(wraps).replace("{}", part.source))

    area = replace(area, parts=tuple(map(wrap, area.parts)))
    parts = [*area.parts, *total.parts]
    for one in noise:
        parts.insert(draw(st.integers(0, len(parts))), one)
    answers = frozenset({area.parts[-1], total.parts[-1]})
    tagged = draw(st.sampled_from([frozenset[Part](), answers])) if form == "ipynb" else answers
    stem = SLUG if area.beside else stem  # which of two files is meant, only its name can tell
    return Made(f"{stem}.{form}", tuple(parts), area.beside, tagged)


@dataclass(frozen=True)
class Loaded:
    """What a load comes to: what failed, and what the calls gave, as values or as messages."""

    failures: tuple[LoadFailure, ...]
    values: dict[str, object]
    faults: dict[str, str]


def try_calls(call: Callable[[Call], object], failures: Sequence[LoadFailure]) -> Loaded:
    """Make the call of each problem."""
    values: dict[str, object] = {}
    faults: dict[str, str] = {}
    for problem, (step, _) in CALLS.items():
        try:
            values[problem] = call(step)
        except (Raised, Stopped) as error:
            fault = fault_of(error)
            faults[problem] = ": ".join(filter(None, (fault.where, fault.message, fault.detail)))
    return Loaded(failures=tuple(failures), values=values, faults=faults)


def load_here(job: ReplayJob) -> Loaded:
    """Load in this process, as `check` does in one of its own, and make the calls."""
    from grader.student.local_worker import LocalWorker
    from grader.student.replay import load

    os.chdir(job.folder)
    sys.stdin = io.StringIO()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        names, failures = load(job)
        return try_calls(LocalWorker(names, {}, failures=failures).call, failures)
