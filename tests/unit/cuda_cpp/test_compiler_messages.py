"""Compiler output becomes one sentence and the student's line; the texts are from nvcc 13.0."""

import pytest

from grader.cuda_cpp.builder import MAX_MESSAGE, explain
from grader.intake.submission import Origin, SourceFile, Submission

SUBMISSION = Submission(
    name="ada",
    sha256="",
    origin=Origin.CUDA,
    entry="work",
    files=(
        SourceFile(name="work.cu", text="\n" * 9),
        SourceFile(name="tile.cuh", text="\n" * 4),
    ),
)


@pytest.mark.parametrize(
    ("compiler_output", "message", "where"),
    [
        (
            'work.cu(3): error: expected a ";"\n  int f() { return 1 }\n                 ^\n',
            'expected a ";"',
            "work.cu, line 3",
        ),
        (
            "work.cu:2:10: fatal error: gone.h: No such file or directory\n    2 | #include\n",
            "gone.h: No such file or directory",
            "work.cu, line 2",
        ),
        (
            'tile.cuh(4): error #20: identifier "x" is undefined\n',
            'identifier "x" is undefined',
            "tile.cuh, line 4",
        ),
        (
            "/opt/cuda/include/cuda_fp16.h(168): error: expected an expression\n"
            "          detected during instantiation at line 7 of work.cu\n",
            "expected an expression",
            "work.cu, line 7",
        ),
        (
            "/usr/bin/ld: /tmp/tmpxft_1_b.o: in function `f':\n"
            "x.cpp:(.text+0x11): undefined reference to `g'\ncollect2: error: ld returned 1\n",
            "undefined reference to `g'",
            "",
        ),
        (
            "ptxas /tmp/b.ptx, line 23; error   : Unknown modifier '.bar'\nptxas fatal   : Ptx\n",
            "Unknown modifier '.bar'",
            "",
        ),
        (
            "/tmp/cc.s: Assembler messages:\n/tmp/cc.s:4: Error: file not found: /nope\n",
            "file not found: /nope",
            "",
        ),
        ("nvcc fatal   : Unsupported gpu architecture\n", "Unsupported gpu architecture", ""),
        ("", "no error was found in the compiler's output", ""),
    ],
)
def test_the_first_error_and_its_location(compiler_output: str, message: str, where: str) -> None:
    assert explain(f"ptxas info    : 0 bytes gmem\n{compiler_output}", SUBMISSION) == (
        message,
        where,
    )


@pytest.mark.parametrize("location", ["work.cu(11)", "other.cu(1)", "work.cu(999999999999999)"])
def test_a_location_outside_the_submission_is_not_shown(location: str) -> None:
    assert explain(f"{location}: error: no\n", SUBMISSION) == ("no", "")


def test_a_message_is_cut_and_made_printable() -> None:
    message, _ = explain(f"work.cu(1): error: \x1b[31m{'x' * 1000}\n", SUBMISSION)
    assert "\x1b" not in message
    assert len(message) == MAX_MESSAGE + 1
