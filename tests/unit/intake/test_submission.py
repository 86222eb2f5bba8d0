"""Which submissions name a compiler, and so have longer for the first call."""

import pytest

from grader.intake.submission import Submission


@pytest.mark.parametrize(
    ("text", "compiles"),
    [
        ("@torch.compile\ndef f(): ...", True),
        ("fast = t.compile(f)", True),
        ("from torch import compile", True),
        ("@torch.jit.script\ndef f(): ...", True),
        ("from torch.jit import script", True),
        ("jit.trace(f, x)", True),
        ("import torch._dynamo", True),
        ("from torch.utils.cpp_extension import load_inline", True),
        ("import re\nWORD = re.compile('x')", False),
        ("import torch  # we compile nothing", False),
        ("def compile_plan(): ...", False),
        ("@triton.jit\ndef kernel(): ...", False),
        ("", False),
    ],
)
def test_a_compiler_is_found_by_its_name(text: str, compiles: bool) -> None:
    assert Submission.of_text("ada", text).compiles() is compiles


def test_triton_compiles_on_a_device_only() -> None:
    submission = Submission.of_text("ada", "@triton.jit\ndef kernel(): ...")
    assert submission.compiles(on_device=True)
    assert not submission.compiles()
