"""Attacks by source that is only compiled: reading files, filling disk, memory or time.

Nothing of a submission in CUDA C++ runs while it is compiled, but the compiler reads what the
source names, and works as long as the source makes it. It runs in a worker, as submissions do.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from grader.assignment.folders import find_assignment, find_reference
from grader.assignment.loaded import load_assignment_with_reference
from grader.cuda_cpp import builder as building
from grader.cuda_cpp.builder import BUILD_LIMITS, Builder, Built
from grader.evidence.faults import FaultKind
from grader.intake.submission import Origin, SourceFile, Submission
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from tests.hostile.conftest import SANDBOXES, SEED

pytestmark = pytest.mark.nvcc

SECRET = "expected-value-of-the-hidden-case-7d1f"
GOOD = """
#include "gpu_kernels.h"
__global__ void fill(float* z) { z[threadIdx.x] = 1; }
grader::Status matrix_add(const grader::Tensor& x, const grader::Tensor& y, const grader::Tensor& z,
                          cudaStream_t stream) {
  fill<<<1, 32, 0, stream>>>(static_cast<float*>(z.data));
  return grader::Status::OK;
}
"""
LIMITS = replace(BUILD_LIMITS, memory_bytes=1 << 30)
IMPATIENT = replace(LIMITS, call_wall_s=5.0)


@pytest.fixture(scope="module", params=SANDBOXES)
def builder(request: pytest.FixtureRequest) -> Iterator[Builder]:
    loaded = load_assignment_with_reference(
        find_assignment("gpu_kernels", None),
        find_reference("gpu_kernels", None),
        device="cpu",
        seed=SEED,
    )
    made = Builder(
        loaded,
        sandbox=request.param,
        isolation=Isolation.WARM,
        image=DEFAULT_IMAGE,
        first_slot=2,
    )
    with closing(made), pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "BUILD_LIMITS", LIMITS)
        yield made


def build(builder: Builder, text: str) -> Built:
    return builder.build(
        Submission(
            name="attack",
            sha256="0" * 64,
            origin=Origin.CUDA,
            entry="attack",
            files=(SourceFile(name="attack.cu", text=text),),
        )
    )


@pytest.fixture
def assert_sound(builder: Builder) -> Iterator[None]:
    """After every attack the next student's work compiles."""
    yield
    built = build(builder, GOOD)
    assert built.faults == ()
    assert built.submission.binaries[0].content.startswith(b"\x7fELF")


def test_honest_work_compiles_for_every_architecture(builder: Builder) -> None:
    built = build(builder, GOOD)
    assert (built.faults, built.lacks) == ((), "")
    assert all(f"for '{name}'" in built.compiler_output for name in ("sm_80", "sm_90a"))
    (library,) = built.submission.binaries
    assert library.content.startswith(b"\x7fELF")
    assert b"matrix_add" in library.content


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n", encoding="utf-8")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    path.chmod(0o644)
    return path


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/shadow",
        "/proc/self/environ",
        "/proc/1/cmdline",
        "SECRET",
        str(find_reference("gpu_kernels", None) / "oracle.py"),
        str(find_reference("gpu_kernels", None) / "right" / "one_thread_each.cu"),
    ],
)
@pytest.mark.parametrize("form", ['#include "{}"', 'asm(".incbin \\"{}\\"");'])
def test_files_of_the_judge_are_out_of_reach(
    builder: Builder, secret: Path, path: str, form: str
) -> None:
    text = form.format(str(secret) if path == "SECRET" else path)
    (fault,) = build(builder, text).faults
    assert fault.kind is FaultKind.EXCEPTION
    shown = f"{fault.message} {fault.detail}"
    assert any(why in shown for why in ("No such file", "Permission denied", "file not found"))
    assert SECRET not in shown
    assert "root:" not in shown


@pytest.mark.usefixtures("assert_sound")
def test_nothing_is_left_of_the_student_before(builder: Builder) -> None:
    assert build(builder, f"// {SECRET}\n{GOOD}").faults == ()
    homes = [
        "/sandbox/home/sources/attack.cu",
        "/tmp/1/sources/attack.cu",
        "../../1/sources/attack.cu",
    ]
    asks = "".join(f'#if __has_include("{home}")\n#error found\n#endif\n' for home in homes[1:])
    assert build(builder, asks + GOOD).faults == ()
    # Its own file lies where the other one lay.
    (fault,) = build(builder, f'#include "{homes[0]}"\n#error {SECRET[:8]}').faults
    assert SECRET not in fault.detail


@pytest.mark.usefixtures("assert_sound")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "bomb",
    [
        # 2^40 instances, none deeper than the compiler allows
        "template <long A, int N> struct T {\n"
        "  static constexpr long v = T<2 * A, N - 1>::v + T<2 * A + 1, N - 1>::v;\n};\n"
        "template <long A> struct T<A, 0> { static constexpr long v = 1; };\n"
        "long x = T<0, 40>::v;\n",
        '#include "/dev/zero"\n',
        '#include "attack.cu"\n#include "attack.cu"\n',
        # 2^40 words
        "#define A0 1 +\n"
        + "".join(f"#define A{n + 1} A{n} A{n}\n" for n in range(40))
        + "int x = A40 0;\n",
    ],
    ids=["templates", "endless file", "itself twice", "macros"],
)
def test_a_bomb_costs_the_time_limit_and_no_more(
    builder: Builder, bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "BUILD_LIMITS", IMPATIENT)
    (fault,) = build(builder, bomb).faults
    ours = {FaultKind.INFRASTRUCTURE, FaultKind.AUTHOR, FaultKind.NO_DEVICE}
    assert fault.kind not in ours, fault
    assert "could not be compiled" in fault.message
    monkeypatch.undo()


@pytest.mark.usefixtures("assert_sound")
@pytest.mark.timeout(120)
def test_a_huge_library_fills_nothing(builder: Builder) -> None:
    # 512 MiB of data from one line, by the assembler: more than the worker's files may hold
    (fault,) = build(builder, 'asm(".data\\n.fill 536870912, 1, 7\\n.text\\n");').faults
    assert fault.kind in (FaultKind.EXCEPTION, FaultKind.OUT_OF_MEMORY)
    # 64 MiB: small enough to be made, too large to leave the sandbox
    (fault,) = build(builder, 'asm(".data\\n.fill 67108864, 1, 7\\n.text\\n");').faults
    assert "larger than 32 MiB" in fault.message


def test_a_flood_of_compiler_output_is_cut(builder: Builder) -> None:
    errors = "".join(f"int a{n} = undefined_{n};\n" for n in range(3000))
    built = build(builder, f'#pragma message("x")\n{errors}')
    (fault,) = built.faults
    assert fault.kind is FaultKind.EXCEPTION
    assert fault.where == "attack.cu, line 2"
    assert len(fault.detail) <= 64 << 10


@pytest.mark.parametrize(
    "call",
    [
        "cublasCreate_v2",
        "cudnnCreate",
        "cublasGemmEx",
    ],
)
def test_no_library_of_cudas_is_linked(builder: Builder, call: str) -> None:
    text = f'extern "C" int {call}(void*);\nint use() {{ return {call}(nullptr); }}\n'
    (fault,) = build(builder, text).faults
    assert "undefined reference" in fault.message
    assert call in fault.message


def test_a_weak_symbol_is_found_in_no_library(builder: Builder) -> None:
    weak = 'extern "C" int cublasCreate_v2(void*) __attribute__((weak));\n'
    built = build(builder, f"{weak}int use() {{ return cublasCreate_v2 ? 1 : 0; }}\n")
    assert built.faults == ()
    assert b"cublasCreate" not in built.submission.binaries[0].content
