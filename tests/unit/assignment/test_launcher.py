"""Launchers: what an author may write, and how a mistake is named."""

import re
from pathlib import Path

import pytest

from grader.assignment.launcher import BadEntry, Kind, Output, Parameter, read_launcher
from grader.assignment.table import load_assignment
from grader.cuda_cpp.header import DTYPE_CODES, MAX_RANK, prototype, write_header
from grader.errors import AuthorError
from grader.runner.cuda import launchers

GOOD = """\
schema_version = 1
slug = "demo"
title = "Demo"
languages = ["python", "cuda"]

[[problem]]
name = "scale"
title = "Scale"
exports = ["scale"]

[[problem.launcher]]
name = "scale"
inputs = ["x_MN", "factor: double = 2.0"]
outputs = ["y_MN: x_MN"]

[[problem.check]]
name = "values"
title = "Values"
points = 1
"""

LAUNCHER = r'toml, line \d+: problem "scale", launcher "scale"'


def write(root: Path, text: str) -> Path:
    folder = root / "demo"
    folder.mkdir(exist_ok=True)
    (folder / "assignment.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("entry", "name", "parameters"),
    [
        ("x_MN", "x_MN", [Parameter(name="x_MN", kind=Kind.TENSOR, axes="MN")]),
        (
            "bias_N?",
            "bias_N",
            [Parameter(name="bias_N", kind=Kind.TENSOR, axes="N", optional=True)],
        ),
        (
            "pair: (a_M, b_N)",
            "pair",
            [
                Parameter(name="a_M", kind=Kind.TENSOR, axes="M"),
                Parameter(name="b_N", kind=Kind.TENSOR, axes="N"),
            ],
        ),
        ("e: double = 1e-6", "e", [Parameter(name="e", kind=Kind.DOUBLE, default=(1e-6,))]),
        ("n: int64=-100", "n", [Parameter(name="n", kind=Kind.INT64, default=(-100,))]),
        ("c: bool = false", "c", [Parameter(name="c", kind=Kind.BOOL, default=(False,))]),
        ("s: double?", "s", [Parameter(name="s", kind=Kind.DOUBLE, optional=True)]),
        ("k: a | b", "k", [Parameter(name="k", kind=Kind.CHOICE, words=("a", "b"))]),
    ],
)
def test_every_form_of_an_input(entry: str, name: str, parameters: list[Parameter]) -> None:
    _, argument = read_launcher("f", ["given_Z", entry], ["y_Z: given_Z"]).arguments
    assert (argument.name, list(argument.parameters)) == (name, parameters)
    assert argument.is_tuple == (len(parameters) > 1)


def test_outputs_have_axes_and_a_dtype() -> None:
    launcher = read_launcher("f", ["x_MN"], ["y_NM: x_MN", "loss: float32"])
    assert launcher.outputs == (
        Output(name="y_NM", axes="NM", dtype="x_MN"),
        Output(name="loss", axes="", dtype="float32"),
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "key", "expected"),
    [
        (["x"], ["y_M: float32"], "inputs", "x_MN"),
        (["x_mn"], ["y_M: float32"], "inputs", "x_MN"),
        (["x_M", "e: double"], ["y_M: float32"], "inputs", "double = 1e-6"),
        (["x_M", "e: int64 = 1.5"], ["y_M: float32"], "inputs", "int64"),
        (["x_M", "e: bool = 1"], ["y_M: float32"], "inputs", "bool"),
        (["x_M", "p: (a_M, b?)"], ["y_M: float32"], "inputs", "tuple"),
        (["x_M", "p: (a_M, b_M?)"], ["y_M: float32"], "inputs", "tuple"),
        (["x_M", "x_M"], ["y_M: float32"], "inputs", "only once"),
        (["x_M", "stream: double?"], ["y_M: float32"], "inputs", "only once"),
        (["x_M"], ["x_M: float32"], "inputs", "only once"),
        (["x_M?"], ["y_M: float32"], "inputs", "may not be None"),
        (["x_M"], [], "outputs", "at least one"),
        (["x_M"], ["y_M"], "outputs", "loss: float32"),
        (["x_M"], ["y_N: float32"], "outputs", "axes"),
        (["x_M", "b_N?"], ["y_N: float32"], "outputs", "axes"),
        (["x_M"], ["y_M: float33"], "outputs", "dtype"),
    ],
)
def test_a_mistake_is_named(inputs: list[str], outputs: list[str], key: str, expected: str) -> None:
    with pytest.raises(BadEntry) as raised:
        read_launcher("f", inputs, outputs)
    assert re.match(rf"{key}: expected .*{re.escape(expected)}.*, found ", str(raised.value))


def test_an_assignment_with_launchers(tmp_path: Path) -> None:
    table = load_assignment(write(tmp_path, GOOD))
    assert [launcher.name for launcher in table.launchers] == ["scale"]


@pytest.mark.parametrize(
    ("old", "new", "pattern"),
    [
        ('"x_MN", "fac', '"x", "fac', rf"{LAUNCHER}: inputs: expected \"x_MN\", .*, found 'x'"),
        ("y_MN: x_MN", "y_MN: z_MN", rf"{LAUNCHER}: outputs: expected a dtype .*, found 'z_MN'"),
        (
            'inputs = ["x_MN"',
            'input = ["x_MN"',
            rf"{LAUNCHER}: unknown key 'input'; did you mean 'inputs'",
        ),
        (
            '["python", "cuda"]',
            '["python", "rust"]',
            r"languages\[1\]: expected one of python, cuda",
        ),
        (
            '["python", "cuda"]',
            '["cuda", "cuda"]',
            r"toml, line \d+: languages: expected each language once",
        ),
        ('languages = ["python", "cuda"]\n', "", r"problem \"scale\": launcher: expected none"),
        (
            'name = "scale"\ninputs',
            'name = "other"\ninputs',
            r"one for each of scale, found .'other'",
        ),
    ],
)
def test_a_mistake_in_the_file_names_key_expected_found(
    tmp_path: Path, old: str, new: str, pattern: str
) -> None:
    assert old in GOOD
    with pytest.raises(AuthorError) as raised:
        load_assignment(write(tmp_path, GOOD.replace(old, new)))
    assert re.search(pattern, str(raised.value)), str(raised.value)


def test_a_choice_has_the_same_words_in_every_launcher(tmp_path: Path) -> None:
    second = (
        GOOD.split("\n\n", 1)[1]
        .replace("scale", "shift")
        .replace("factor: double = 2.0", "mode: b | a")
    )
    text = GOOD.replace("factor: double = 2.0", "mode: a | b") + "\n" + second
    with pytest.raises(AuthorError, match="the same words wherever mode is"):
        load_assignment(write(tmp_path, text))


def test_the_header_declares_every_launcher() -> None:
    inputs = ["x_MN", "b_N?", "eps: double?", "n: int64 = 1", "c: bool = true", "mode: a | b_c"]
    launcher = read_launcher("f", inputs, ["y_MN: x_MN"])
    assert " ".join(prototype(launcher).split()) == (
        "grader::Status f( const grader::Tensor& x_MN, const grader::Tensor* b_N, "
        "const double* eps, int64_t n, bool c, grader::Mode mode, const grader::Tensor& y_MN, "
        "cudaStream_t stream)"
    )
    text = write_header("demo", [launcher])
    assert "enum class Mode : int32_t { A, B_C };" in text
    assert text.startswith("//")
    assert "#ifndef GRADER_DEMO_H" in text


def test_worker_and_header_agree_on_dtypes_and_ranks() -> None:
    named = {str(dtype).removeprefix("torch.").upper(): c for dtype, c in launchers.CODES.items()}
    assert [named[name] for name in DTYPE_CODES] == list(range(launchers.OTHER))
    assert len(launchers.CODES) == len(DTYPE_CODES)
    assert launchers.MAX_RANK == MAX_RANK
