"""Plays the corpus in a process of its own: `python -m tests.unit.runner.corpus.play interpret`.

`interpret` runs every function as `grader check` does and compares; `compile` compiles every kernel
that they launch for sm_90, as `runner.ahead_of_time` does. Prints a line for each that fails.
"""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch

from tests.unit.runner.corpus.expected import CORPUS, Value


def differences(got: Value, want: Value) -> str:
    """Return how a reply differs from what is expected; empty if it does not."""
    got, want = (list(one) if isinstance(one, tuple | list) else [one] for one in (got, want))
    for mine, theirs in zip(got, want, strict=True):
        most = 0.0 if theirs.dtype == torch.bfloat16 else None
        try:
            torch.testing.assert_close(mine, theirs, equal_nan=True, rtol=most, atol=most)
        except AssertionError as error:
            return str(error)
    return ""


def interpret() -> Iterator[str]:
    """Yield what fails when Triton's interpreter runs the corpus."""
    from grader.runner.interpreter import compute_as_a_device

    compute_as_a_device()
    for module, name in _functions():
        arguments, want = CORPUS[module.__name__.rpartition(".")[2]][name]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                got = vars(module)[name](*arguments)
        except Exception as error:  # noqa: BLE001 - whatever a kernel raises
            yield f"{name}: {type(error).__name__}: {error}"
            continue
        if text := differences(got, want(*arguments)):
            yield f"{name}: {text}"


def compile_all() -> Iterator[str]:
    """Yield what fails when Triton compiles the corpus."""
    from grader.runner import ahead_of_time

    vars(ahead_of_time).update(TARGETS=(90,), MAX_FINDINGS=1000, COMPILE_SECONDS=1000.0)
    compiler = ahead_of_time.KernelCompiler(str(Path(__file__).parent))
    compiler.install()
    for module, name in _functions():
        with contextlib.redirect_stdout(io.StringIO()):  # `static_print` prints while it compiles
            vars(module)[name](*CORPUS[module.__name__.rpartition(".")[2]][name][0])
    report = compiler.report()
    for found in report["findings"]:
        if "error" in found:
            yield f"{found['kernel']}: {found['error_frame']}: {found['error']}"
    for missed in report["unreached"]:
        yield f"{missed['kernel']}: was not compiled"


def _functions() -> Iterator[tuple[ModuleType, str]]:
    for name, cases in CORPUS.items():
        module = importlib.import_module(f"{__package__}.{name}")
        yield from ((module, case) for case in cases)


if __name__ == "__main__":
    interprets = sys.argv[1:] == ["interpret"]
    if interprets:
        os.environ["TRITON_INTERPRET"] = "1"
    for line in interpret() if interprets else compile_all():
        print(line)
