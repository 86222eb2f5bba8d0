"""Advice from the assembler's own words; the texts are ptxas 13.0's."""

import pytest

from grader.advice.claims import CUT_SHORT, MAX_KERNELS, advise_on_cuda, readable_name
from grader.advice.kernel_advice import NO_ADVICE, KernelOutcome
from grader.report.advice_view import view_advice


def entry(symbol: str, target: str, *, spills: str = "0", used: str = "10 registers") -> str:
    return (
        f"ptxas info    : Compiling entry function '{symbol}' for '{target}'\n"
        f"ptxas info    : Function properties for {symbol}\n"
        f"    0 bytes stack frame, {spills} bytes spill stores, 4 bytes spill loads\n"
        f"ptxas info    : Used {used}, 372 bytes cmem[0]\n"
    )


OUTPUT = entry("_Z3addPKfPfi", "sm_80") + entry(
    "_Z3addPKfPfi", "sm_90a", spills="16", used="32 registers, used 1 barriers, 4096 bytes smem"
)


def test_registers_spills_and_shared_memory_of_each_target() -> None:
    advice = advise_on_cuda(OUTPUT)
    assert [(k.kernel, k.target, k.outcome) for k in advice.kernels] == [
        ("add", "sm_80", KernelOutcome.COMPILES),
        ("add", "sm_90a", KernelOutcome.COMPILES),
    ]
    found = [k.resources[0] for k in advice.kernels]
    assert [(r.registers, r.spill_bytes, r.shared_bytes) for r in found] == [
        (10, 4, 0),
        (32, 16, 4096),
    ]


def test_what_only_the_launch_decides_is_left_empty() -> None:
    first, _ = view_advice(advise_on_cuda(OUTPUT)).rows
    assert first.numbers == ("10", "4", "0", "", "")


def test_output_about_no_kernel_is_no_advice() -> None:
    assert advise_on_cuda("work.cu(1): error: no\nUsed 8 registers\n") == NO_ADVICE


def test_there_is_a_limit() -> None:
    advice = advise_on_cuda("".join(entry(f"_Z2k{n:x}v", "sm_80") for n in range(MAX_KERNELS + 1)))
    assert len(advice.kernels) == MAX_KERNELS
    assert advice.notice == CUT_SHORT


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("plain", ("plain", False)),
        ("_Z3addPKfPfi", ("add", False)),
        ("_Z7softmaxIfEvPKT_PS0_", ("softmax", True)),
        ("_ZN36_GLOBAL__N__9b9d6040_4_r_cu_a80a6ca49key_slopeElNS_6SlopesE", ("key_slope", False)),
        ("_ZN4mine6kernelIiEEvv", ("kernel", True)),
        ("_Z", ("_Z", False)),
        ("_Z99x", ("x", False)),
    ],
)
def test_names_are_read_from_symbols(symbol: str, name: tuple[str, bool]) -> None:
    assert readable_name(symbol) == name
