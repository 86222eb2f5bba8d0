"""Each operator on a small function: what it makes of one line."""

import textwrap

import pytest

from grader.intake.submission import SourceFile
from grader.mutate.edits import Operator as Op
from grader.mutate.mutants import make_mutants


def mutants(text, exports=("f",)):
    files = (SourceFile(name="submission.py", text=textwrap.dedent(text)),)
    return make_mutants(files, exports, shown="solution.py")


def afters(line, operator):
    body = textwrap.indent(textwrap.dedent(line), "    ")
    found = mutants(f"def f(self, a, b, c, x, m, n):\n{body}\n")
    return {one.after for one in found if one.operator is operator}


@pytest.mark.parametrize(
    ("line", "operator", "after"),
    [
        ("return a < b", Op.BOUND, "return a <= b"),
        ("return a >= b", Op.BOUND, "return a > b"),
        ("return 0 <= a < b", Op.BOUND, "return (0 <= a)"),
        ("return 0 <= a < b", Op.BOUND, "return (a < b)"),
        ("return a == b", Op.CONDITION, "return a != b"),
        ("return a not in b", Op.CONDITION, "return a in b"),
        ("return x[:n]", Op.RANGE, "return x[:n - 1]"),
        ("return x[a:]", Op.RANGE, "return x[:]"),
        ("return x[a:]", Op.RANGE, "return x[a + 1:]"),
        ("return range(a, b)", Op.RANGE, "return range(a, b - 1)"),
        ("return a // b", Op.RANGE, "return ((a + b - 1) // b)"),
        ("return triton.cdiv(a, b)", Op.RANGE, "return (a // b)"),
        ("return a // b", Op.HEAD, "return a % b"),
        ("return x.repeat_interleave(2)", Op.HEAD, "return x.repeat(2)"),
        ("return tl.load(x, mask=m, other=0.0)", Op.MASK, "return tl.load(x)"),
        ("return tl.load(x, mask=m, other=0.0)", Op.MASK, "return tl.load(x, mask=m)"),
        ("return m & (a < b)", Op.MASK, "return m"),
        ("return ~m", Op.MASK, "return m"),
        ("return x.masked_fill(m, 0.0)", Op.MASK, "return x"),
        ("return torch.where(m, a, b)", Op.MASK, "return b"),
        ("return -math.inf", Op.MASK, "return -1e4"),
        ("return -float('inf')", Op.MASK, "return -float('1e4')"),
        ("return a * b", Op.ARITHMETIC, "return a"),
        ("return a * b", Op.ARITHMETIC, "return a / b"),
        ("return c - a * (a + b)", Op.ARITHMETIC, "return c - (a + b)"),
        ("return a + b", Op.SIGN, "return a - b"),
        ("return -a", Op.SIGN, "return a"),
        ("return x.clone()", Op.COPY, "return x"),
        ("return list(x)", Op.COPY, "return x"),
        ("return torch.clamp(x, min=a)", Op.CLAMP, "return x"),
        ("return x.clamp(max=a, min=b)", Op.CLAMP, "return x.clamp(max=a)"),
        ("return min(a, b)", Op.CLAMP, "return max(a, b)"),
        ("return min(a, b)", Op.CLAMP, "return b"),
        ("return tl.dot(a, b, c)", Op.ACCUMULATION, "return tl.dot(a, b)"),
        ("x.add_(a)", Op.ACCUMULATION, "x.copy_(a)"),
        ("x[0] += a", Op.ACCUMULATION, "x[0] = a"),
        ("x[0] += a", Op.STATEMENT, "pass"),
        ("x -= a", Op.SIGN, "x += a"),
        ("return g(x.stride(0))", Op.STRIDE, "return g(x.contiguous().stride(0))"),
        ("return g(*x.stride())", Op.STRIDE, "return g(*x.contiguous().stride())"),
        ("return g(stride_a, stride_b)", Op.STRIDE, "return g(stride_b, stride_a)"),
        ("return x.mT", Op.STRIDE, "return x"),
        ("return x.reshape(a, b)", Op.STRIDE, "return x.view(a, b)"),
        ("return a if a is not None else b", Op.DEFAULT, "return (a if a else b)"),
        ("return a or b", Op.DEFAULT, "return (a if a is not None else b)"),
        ("return a is None", Op.DEFAULT, "return (not a)"),
        ("return x.get(a, b)", Op.DEFAULT, "return (x.get(a) or b)"),
        ("return x.float()", Op.DTYPE, "return x"),
        ("return x.to(a)", Op.DTYPE, "return x"),
        ("return torch.float32", Op.DTYPE, "return torch.float16"),
        ("return torch.empty(a, dtype=b)", Op.DTYPE, "return torch.empty(a)"),
        ("return x.amax(dim=a, keepdim=b)", Op.AXIS, "return x.amax(dim=a)"),
        ("return x.sum(a, dim=b)", Op.AXIS, "return x.mean(a, dim=b)"),
        ("return sorted(x)", Op.ORDER, "return list(x)"),
        ("x.append(a)", Op.ORDER, "x.insert(0, a)"),
        ("return x.popleft()", Op.ORDER, "return x.pop()"),
        ("return 3", Op.CONSTANT, "return 2"),
        ("return 3", Op.CONSTANT, "return 4"),
        ("return 1e-6", Op.CONSTANT, "return 2e-06"),
        ("return g(True)", Op.CONSTANT, "return g(False)"),
        ("return torch.zeros(a)", Op.CONSTANT, "return torch.ones(a)"),
        ("return a and b", Op.CONDITION, "return (a or b)"),
        ("return a and b", Op.CONDITION, "return (b)"),
        ("return not a", Op.CONDITION, "return a"),
        ("return a if b else c", Op.CONDITION, "return c"),
        ("_require(a, b)", Op.REFUSAL, "pass"),
        ("dist.barrier()", Op.SYNCHRONISATION, "pass"),
        ("self.a = a", Op.STATEMENT, "pass"),
        ("a = a * b", Op.STATEMENT, "pass"),
        ("del self.a", Op.STATEMENT, "pass"),
    ],
)
def test_what_an_operator_makes_of_a_line(line, operator, after):
    assert after in afters(line, operator)


def test_a_refusal_is_dropped_and_has_another_class():
    found = afters("if a:\n    raise ValueError('no')", Op.REFUSAL)
    assert found == {"if False:", "raise RuntimeError('no')", "pass"}


def test_a_condition_is_taken_for_true_and_for_false():
    assert {"if True:", "if False:"} <= afters("if a:\n    return b", Op.CONDITION)


def test_a_context_is_left_out():
    assert "if True:" in afters("with torch.no_grad():\n    return a", Op.STATEMENT)


def test_state_changes_before_the_check():
    line = """\
    _require(a, b)
    n = a
    self.n = n
    return n
    """
    (moved,) = (one for one in mutants_of(line) if one.operator is Op.STATE)
    assert moved.text.splitlines()[1:] == [
        "    pass",
        "    n = a",
        "    self.n = n",
        "    _require(a, b)",
        "    return n",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "_require(a, b)\nout = g(a)\nout[0] = b\nreturn out",
        "_require(a, b)\nreturn a",
        "n = a\nself.n = n",
    ],
)
def test_what_a_call_makes_itself_is_no_state(line):
    assert not [one for one in mutants_of(line) if one.operator is Op.STATE]


def test_a_constructor_that_raises_has_no_state():
    text = "class f:\n    def __init__(self, a):\n        check(a)\n        self.a = a\n"
    assert not [one for one in mutants(text) if one.operator is Op.STATE]


def mutants_of(line):
    return mutants(f"def f(self, a, b):\n{textwrap.indent(textwrap.dedent(line), '    ')}")


def test_a_decorator_is_left_out_but_not_a_property():
    found = mutants("@torch.no_grad()\ndef f(a):\n    return a\n")
    assert "def f(a):" in next(one.text for one in found if one.operator is Op.STATEMENT)
    assert not mutants("class f:\n    @property\n    def g(self):\n        return self\n")


@pytest.mark.parametrize(
    "line",
    [
        '"""A text with 3 < 4."""',
        "raise_ = f'{a + 1} {b < 2}'",
        "x: tuple[1, 2]",
        "return g(num_warps=4, BLOCK_N=64)",
        "return {'BLOCK_N': 64, 'num_stages': 2}",
        "return tl.arange(0, BLOCK)",
        "import a.b",
    ],
)
def test_texts_annotations_and_block_sizes_stay(line):
    assert mutants_of(line) == ()


def test_all_that_is_made_is_python():
    line = """\
    if not (a) and (b):
        raise ValueError(f"{a}")
    x = tl.load((a), mask=(b), other=(0.0))
    y = (
        x  # a * b
        * b
    )
    return max((x), (y), key=(a))
    """
    found = mutants_of(line)
    assert found
    assert len({one.name for one in found}) == len(found)


def test_only_what_the_exports_reach_is_changed():
    text = """\
    LIMIT = 3
    OTHER = 4
    def f(a):
        return g(a)
    def g(a):
        return a < LIMIT
    def unused(a):
        return a < OTHER
    """
    assert {one.function for one in mutants(text)} == {"module", "g"}


def test_names_stay_when_other_functions_change():
    before = mutants("def f(a):\n    return a < 3\n")
    after = mutants("def g(a):\n    return a * 2\n\n\ndef f(a):\n    return a < 3\n", ("f", "g"))
    names = {one.name for one in before}
    assert names < {one.name for one in after}
    assert "solution.py: f: bound off by one: return a < 3 -> return a <= 3" in names


def test_equal_lines_of_a_function_have_numbers():
    found = mutants("def f(a):\n    a.b()\n    a.b()\n")
    assert [one.name.partition(" -> ")[2] for one in found] == ["pass", "pass #2"]


def test_a_default_runs_with_its_function_and_a_constant_with_its_users():
    text = "LIMIT = 3\n\n\ndef f(a=1):\n    b = a\n    return b < LIMIT\n"
    where = {one.before: one.where["submission.py"] for one in mutants(text)}
    assert where["def f(a=1):"] == {5, 6}
    assert where["LIMIT = 3"] == {6}
    assert where["return b < LIMIT"] == {6}


def test_names_of_another_file_are_reached_through_its_import():
    files = (
        SourceFile(name="submission.py", text="from kernels.k import g as h\nf = h\n"),
        SourceFile(
            name="kernels/k.py", text="def g(a):\n    return -a\n\n\ndef f(a):\n    return -a\n"
        ),
    )
    found = make_mutants(files, ["f"], shown="solution.py")
    assert {one.name for one in found} == {"kernels/k.py: g: sign: return -a -> return a"}
