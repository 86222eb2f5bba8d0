"""What the assembler says of the kernels of a submission in CUDA C++, as advice.

Takes: the compiler's output, which is untrusted text. Gives: `advise_on_cuda`. Does not cover:
errors (see `cuda_cpp.builder`).

Registers, spills and shared memory are known; warps per block, and with them occupancy, only the
launch decides.
"""

import re

from grader.advice.kernel_advice import (
    NO_ADVICE,
    Advice,
    KernelAdvice,
    KernelOutcome,
    KernelResources,
)

MAX_KERNELS = 64
CUT_SHORT = "Only the first kernels are listed: there is a limit on how many."

# Source: output of `ptxas -v`, toolkit 13.0.
_ENTRY = re.compile(r"Compiling entry function '(\w{1,400})' for '(sm_\w{2,6})'")
_SPILLS = re.compile(r"(\d{1,9}) bytes spill stores, (\d{1,9}) bytes spill loads")
_USED = re.compile(r"Used (\d{1,4}) registers")
_SHARED = re.compile(r"(\d{1,9}) bytes smem")


def advise_on_cuda(compiler_output: str) -> Advice:
    """Return one entry for each kernel and target that the assembler named."""
    kernels: list[KernelAdvice] = []
    entry: tuple[str, str] = ("", "")
    spill_bytes = 0
    for line in compiler_output.splitlines():
        if match := _ENTRY.search(line):
            entry, spill_bytes = (match[1], match[2]), 0
        elif match := _SPILLS.search(line):
            spill_bytes = max(int(match[1]), int(match[2]))
        elif (match := _USED.search(line)) and entry[0]:
            shared = _SHARED.search(line)
            kernels.append(
                _kernel(entry, int(match[1]), spill_bytes, int(shared[1]) if shared else 0)
            )
            entry = ("", "")
    if not kernels:
        return NO_ADVICE
    notice = CUT_SHORT if len(kernels) > MAX_KERNELS else ""
    return Advice(kernels=tuple(kernels[:MAX_KERNELS]), notice=notice, detail="")


def _kernel(
    entry: tuple[str, str], registers: int, spill_bytes: int, shared_bytes: int
) -> KernelAdvice:
    symbol, target = entry
    name, is_template = readable_name(symbol)
    return KernelAdvice(
        kernel=name,
        location="",
        target=target,
        outcome=KernelOutcome.COMPILES,
        arguments=symbol[:200] if is_template else "",
        message="",
        message_location="",
        resources=(
            KernelResources(
                registers=registers,
                spill_bytes=spill_bytes,
                shared_bytes=shared_bytes,
                warps=0,
                occupancy=0.0,
            ),
        ),
    )


def readable_name(symbol: str) -> tuple[str, bool]:
    """Return the function's own name in a mangled symbol, and whether it is one of a template.

    Source: Itanium C++ ABI, section 5.1: a name is its length and its letters; N…E nests.
    """
    if not symbol.startswith("_Z"):
        return symbol, False
    rest = re.sub(r"^_Z(?:N[KVr]*)?", "", symbol)
    name = ""
    while match := re.match(r"(\d{1,3})", rest):
        size = int(match[1])
        name, rest = rest[len(match[1]) :][:size], rest[len(match[1]) + size :]
        if not symbol.startswith("_ZN"):
            break
    return name or symbol, rest.startswith("I")
