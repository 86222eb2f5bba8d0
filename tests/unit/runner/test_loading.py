"""Statement by statement: as the whole module if nothing raises, and the rest of it otherwise."""

import importlib
import importlib.util
import sys
import traceback
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.intake.reader import scope
from grader.runner import loading
from grader.runner.loading import Loading, compile_statements, explain_absent, select


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that loads texts by module name, and what it used to load the first."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "path_hooks", [*sys.path_hooks])
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(importlib, "import_module", importlib.import_module)
    monkeypatch.setattr(importlib.util, "find_spec", importlib.util.find_spec)
    before = set(sys.modules)

    def run(text, *, describe=repr, **options):
        for name, source in {"submitted_work": text, **options.pop("beside", {})}.items():
            (tmp_path / f"{name}.py").write_text(source)
        used = Loading(home=str(tmp_path), describe=describe, **options)
        return used.run("submitted_work"), used.failures

    yield run
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sys.path_importer_cache.pop(str(tmp_path), None)


PARTS = [
    "import math",
    "import math, json as j",
    "from collections import *",
    "x = 3",
    "x: int = 4",
    "y = x + 1",
    "'a text that is no docstring'",
    "def f(n=2):\n    'doc'\n    global made\n    made = n\n    return n",
    "f()",
    "class A:\n    z: int = 1\n    def get(self):\n        return self.z",
    "A.more = lambda self: [f(n) for n in range(3)]",
    "a = A().get()",
    "for i in range(3):\n    x += i",
    "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    caught = 1\nelse:\n    caught = 2",
    "if __name__ == '__main__':\n    raise SystemExit",
    "with open(__file__) as file:\n    first = file.readline()",
    "del i",
    "(n := 5)",
    "x = y = 7; z = 8",
    "lines = f.__code__.co_firstlineno, A.get.__code__.co_firstlineno",
]
HEADS = ["", '"""The docstring."""\n', "from __future__ import annotations\n"]


@given(head=st.sampled_from(HEADS), body=st.lists(st.sampled_from(PARTS), max_size=12))
def test_a_module_runs_as_it_would_as_a_whole(tmp_path_factory, head, body):
    path = tmp_path_factory.getbasetemp() / "whole.py"
    path.write_text(head + "\n".join(body) + "\n")
    whole, parts = types.ModuleType("whole"), types.ModuleType("whole")
    raised = {}
    for module in (whole, parts):
        module.__file__ = str(path)
        codes = [compile(path.read_text(), str(path), "exec")]
        if module is parts:
            codes = [code for _, code in compile_statements(path.read_bytes(), str(path))]
        try:
            for code in codes:
                exec(code, vars(module))
        except Exception as error:  # noqa: BLE001
            frames = traceback.extract_tb(error.__traceback__)
            raised[id(module)] = (repr(error), [(f.lineno, f.name) for f in frames][1:])
            # Until here both have done the same.
    assert raised.get(id(whole)) == raised.get(id(parts))
    assert _plain(whole) == _plain(parts)


def _plain(module):
    skipped = ("__builtins__", "__annotations__")
    found = {name: value for name, value in vars(module).items() if name not in skipped}
    return {
        name: value if isinstance(value, int | str | tuple) else type(value).__name__
        for name, value in found.items()
    } | vars(module).get("__annotations__", {})


def test_a_statement_that_raises_costs_its_names_alone(load):
    names, failures = load(
        "a = 1\nb = 1 / 0\nc, d = b, 2\nassert a == 2\nraise SystemExit(3)\n"
        "def f():\n    return a\ne = f()\n"
    )
    assert names["e"] == 1
    assert [one.names for one in failures] == [["b", "c", "d"], [], []]
    assert [one.raised for one in failures][:2] == [
        "ZeroDivisionError('division by zero')",
        "AssertionError()",
    ]


def test_lines_of_a_traceback_are_those_of_the_file(load):
    def lines(error):
        frames = traceback.extract_tb(error.__traceback__)
        return [(f.lineno, f.name) for f in frames if f.filename.endswith("submitted_work.py")]

    text = "def f(x):\n    return 1 / x\n\n\ny = [\n    f(1),\n    f(0),\n]\n"
    _, failures = load(text, describe=lines)
    assert failures[0].raised == [(7, "<module>"), (2, "f")]


def test_a_module_beside_loads_in_the_same_way(load):
    names, failures = load(
        "from module_beside import good\nfrom module_beside import bad\nx = bad\n",
        beside={"module_beside": "bad = open('/no/such/file')\ngood = 1\n"},
    )
    assert names["good"] == 1
    (one,) = failures
    assert "FileNotFoundError" in one.raised
    assert one.names == ["bad", "x"]


def test_a_star_import_that_fails_may_have_bound_anything(load):
    _, failures = load("from no_such_module import *\n")
    assert failures[0].names == ["*"]


def test_nothing_of_a_syntax_error_runs(load):
    with pytest.raises(SyntaxError):
        load("raise SystemExit\ndef f(:\n")


def test_what_is_not_offered_cannot_be_imported(load):
    names, failures = load(
        "import math, numpy_of_mine, os\nimport xml.dom\n"
        "def later():\n    import pluggy\nimport module_beside\n",
        beside={"module_beside": "import pluggy\n"},
        allowed=("einops", "math"),
    )
    assert names["os"] is sys.modules["os"]
    assert [one.names for one in failures] == [["numpy_of_mine"], ["pluggy"]]
    sentence = explain_absent("pluggy", ("einops", "math"))
    assert sentence == (
        "No module named 'pluggy' where work is graded; there are Python's standard library, "
        "torch, numpy, triton, einops"
    )
    with pytest.raises(ModuleNotFoundError, match="where work is graded"):
        names["later"]()


def test_reading_and_loading_offer_the_same():
    assert {*loading.OFFERED, "harness"} == scope.ALWAYS_ALLOWED


def test_importlib_finds_for_a_submission_what_is_offered(load):
    names, failures = load(
        "import importlib\nfrom importlib.util import find_spec\n"
        "absent = find_spec('pluggy'), find_spec('grader'), find_spec('pluggy.hooks')\n"
        "there = find_spec('math'), find_spec('module_beside')\n"
        "beside = importlib.import_module('module_beside')\n"
        "importlib.import_module('grader.student').check('p')\n"
        "plots = importlib.import_module('pluggy')\n",
        beside={"module_beside": "x = 1\n"},
        allowed=(),
    )
    assert names["absent"] == (None, None, None)
    assert all(names["there"])
    assert names["beside"].x == 1
    (one,) = failures
    assert one.names == ["plots"]
    assert "No module named 'pluggy' where work is graded" in one.raised
    assert importlib.import_module("pluggy")  # for everybody else
    assert importlib.util.find_spec("pluggy")


def test_files_beside_one_another_are_imported_relatively_too(load):
    names, failures = load(
        "from .module_beside import x\nfrom . import module_beside as again\n"
        "def later():\n    from .module_beside import y\n    return y\n"
        "from .absent import z\nfrom . import absent\n",
        beside={"module_beside": "x = 1\ny = 2\n"},
    )
    assert (names["x"], names["again"].y, names["later"]()) == (1, 2, 2)
    assert [one.names for one in failures] == [["z"], ["absent"]]
    assert all("No file absent.py was handed in beside this one" in one.raised for one in failures)


def test_a_package_imports_from_itself(load):
    names, _ = load("import json.decoder\nfrom xml.dom import minidom\n", allowed=())
    assert names["minidom"].__package__ == "xml.dom"


def test_its_file_is_all_that_a_submission_was_called_with(load, tmp_path):
    names, failures = load(
        "import argparse, sys\nargs = argparse.ArgumentParser().parse_args()\n"
        "called = [*sys.argv]\n"
    )
    assert not failures
    assert names["called"] == [str(tmp_path / "submitted_work.py")]


def test_what_others_import_is_not_looked_at(load):
    names, failures = load("import iniconfig\n", allowed=("iniconfig",))
    assert not failures
    assert names["iniconfig"].__builtins__["__import__"] is __import__


def test_the_graders_own_check_does_nothing_in_a_submission(load):
    names, failures = load(
        "from grader.student import check, case\nimport grader.student as student\n"
        "assert check('p', 1).passed\nstudent.check('p')\nx = case('p')[0] if False else 3\n"
    )
    assert not failures
    assert names["x"] == 3


def test_only_the_statements_that_a_name_needs(load):
    text = (
        "from json import *\nimport math\nSIZE = 3\nx = missing\nwhile SIZE:\n    x = 1\n"
        "def base():\n    x = SIZE\n    return math.floor(x)\n"
        "class Cache:\n    def get(self):\n        return base()\n"
        "Cache.more = lambda self: 1\ndef other(): ...\n"
    )
    names, failures = load(text, only=("Cache",))
    assert not failures
    assert {"SIZE", "math", "base", "Cache"} <= set(names)
    assert not {"x", "other"} & set(names)
    assert names["Cache"]().more() == 1


@given(st.lists(st.sampled_from(PARTS), max_size=8))
def test_a_selection_keeps_the_order_and_all_that_binds_a_name(body):
    compiled = compile_statements("\n".join(body).encode(), "work.py")
    chosen = select(compiled, ["a"])
    assert [one for one in compiled if one in chosen] == chosen
    binding = [one for one in compiled if "a" in loading.stored_names(one[1])]
    assert all(one in chosen for one in binding)


def test_failures_are_few_and_name_few(load):
    text = "\n".join(f"a{n} = 1 / 0" for n in range(loading.MAX_FAILURES + 5))
    many = ", ".join(f"b{n}" for n in range(loading.MAX_NAMES + 5))
    _, failures = load(f"{many} = no_such_name\n{text}\n")
    assert len(failures) == loading.MAX_FAILURES
    assert len(failures[0].names) == loading.MAX_NAMES


@pytest.mark.parametrize(
    "call",
    [
        "importlib.import_module(name='math')",
        "importlib.import_module('math', package=None)",
        "importlib.util.find_spec(name='math')",
        "importlib.import_module('.path', 'os')",
        "importlib.import_module(name='.path', package='os')",
        "__import__(name='os.path', fromlist=['join'], level=0)",
        "functools.partial(importlib.import_module, name='module_beside')()",
        "list(map(importlib.import_module, ['math', 'module_beside']))",
    ],
)
def test_importlib_is_called_as_python_allows(load, call):
    text = f"import functools, importlib.util\nx = {call}\n"
    names, failures = load(text, beside={"module_beside": "x = 1\n"})
    assert failures == []
    assert names["x"]


def test_loading_again_in_one_process_watches_once(load):
    load("import importlib\n")
    watched = importlib.import_module, importlib.util.find_spec
    del sys.modules["submitted_work"]
    names, failures = load(
        "import importlib\nplots = importlib.import_module('pluggy')\n", allowed=()
    )
    assert failures
    assert "plots" not in names
    assert (importlib.import_module, importlib.util.find_spec) == watched
