"""A worker's report is either of the known form and within its bounds, or refused."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.advice import claims
from grader.advice.claims import read_claims
from grader.advice.kernel_advice import KernelOutcome
from grader.errors import ChannelError
from grader.intake.submission import CellLine, Origin, SourceFile, Submission
from grader.runner import ahead_of_time

TEXT = "import triton\n\n\n@triton.jit\ndef kernel(x):\n    pass\n"
MODULE = Submission(
    name="ada",
    sha256="0" * 64,
    origin=Origin.MODULE,
    entry="work",
    files=(SourceFile(name="work.py", text=TEXT),),
)
NOTEBOOK = Submission(
    name="grace",
    sha256="0" * 64,
    origin=Origin.NOTEBOOK,
    entry="work",
    files=(
        SourceFile(
            name="work.py",
            text=TEXT,
            cell_lines=tuple(CellLine(cell=3, line=line) for line in range(1, 7)),
        ),
    ),
)
ABOUT = {"kernel": "kernel", "frame": ["work.py", 5, "kernel"], "target": 80}
COMPILED = {
    **ABOUT,
    "arguments": "x: *fp32",
    "registers": 32,
    "spill_bytes": 0,
    "shared_bytes": 0,
    "warps": 4,
}
FAILED = {**ABOUT, "error": "unsupported", "error_frame": ["work.py", 6, "kernel"]}
UNREAD = {**ABOUT, "arguments": "", "unread": "OSError: no such tool"}
OUT_OF_BOUNDS: dict[str, tuple[Any, ...]] = {
    "kernel": ("", "a b", "<b>", "k" * 81, 3, None, "../x"),
    "target": (75, 80.0, True, "80", [80]),
    "registers": (-1, 256, 32.0, True, "32", None, 10**30),
    "spill_bytes": (-1, (512 << 10) + 1, float("nan")),
    "shared_bytes": (-1, (1 << 20) + 1, float("inf")),
    "warps": (0, 33, 4.0),
    "arguments": (3, None, ["x"]),
}
UNREACHED = {"kernel": "kernel", "frame": ["work.py", 5, "kernel"]}


def report(*findings: Any, unreached: Any = (), left_out: Any = False) -> dict[str, Any]:
    return {"findings": list(findings), "unreached": list(unreached), "left_out": left_out}


def test_a_compiled_kernel_gets_its_occupancy_here() -> None:
    (kernel,), left_out = read_claims(report(COMPILED, left_out=True), MODULE)
    assert left_out
    assert (kernel.outcome, kernel.target) == (KernelOutcome.COMPILES, "sm_80")
    assert kernel.location == "work.py, line 5"
    (resources,) = kernel.resources
    assert resources.registers == 32
    assert resources.occupancy == 1.0


def test_a_failing_kernel_has_a_message_and_its_location_in_the_notebook() -> None:
    (kernel,), _ = read_claims(report(FAILED), NOTEBOOK)
    assert kernel.outcome is KernelOutcome.FAILS
    assert (kernel.message, kernel.message_location) == ("unsupported", "cell 3, line 6")
    assert kernel.resources == ()


def test_a_kernel_without_readable_resources_still_compiles() -> None:
    (kernel,), _ = read_claims(report(UNREAD), MODULE)
    assert kernel.outcome is KernelOutcome.COMPILES
    assert kernel.resources == ()


def test_an_unreached_kernel_has_no_target() -> None:
    (kernel,), _ = read_claims(report(unreached=[UNREACHED]), MODULE)
    assert (kernel.outcome, kernel.target) == (KernelOutcome.NOT_REACHED, "")


@pytest.mark.parametrize(
    "reply",
    [
        None,
        True,
        "PASS",
        [],
        {},
        {"score": 10},
        {**report(), "score": 10},
        {**report(), "left_out": 1},
        {**report(), "findings": {}},
        {**report(), "findings": [None]},
        report(*[COMPILED] * (claims.MAX_FINDINGS + 1)),
        report(unreached=[UNREACHED] * (claims.MAX_UNREACHED + 1)),
        report({**COMPILED, "points": 1}),
        report({**COMPILED, "error": "both", "error_frame": []}),
        report({key: value for key, value in COMPILED.items() if key != "warps"}),
        report(unreached=[{**UNREACHED, "target": 80}]),
        report(unreached=["kernel"]),
        *(
            report({**COMPILED, key: value})
            for key, values in OUT_OF_BOUNDS.items()
            for value in values
        ),
        *(
            report({**FAILED, "error": compiler_output})
            for compiler_output in OUT_OF_BOUNDS["arguments"]
        ),
    ],
)
def test_any_other_form_is_refused(reply: Any) -> None:
    with pytest.raises(ChannelError):
        read_claims(reply, MODULE)


@pytest.mark.parametrize(
    "frame", [["work.py", 7_000, "x"], ["/etc/passwd", 1, "x"], ["work.py", -1, "x"], [], "x", None]
)
def test_a_location_that_is_not_in_the_submission_is_none(frame: Any) -> None:
    (kernel,), _ = read_claims(report({**FAILED, "frame": frame, "error_frame": frame}), MODULE)
    assert kernel.location == kernel.message_location == ""


def test_texts_are_cut_and_made_printable() -> None:
    compiler_output = "\x1b[2J\u202egraded\x00" + "x" * 5000
    (kernel,), _ = read_claims(report({**FAILED, "error": compiler_output}), MODULE)
    assert len(kernel.message) == claims.MAX_TEXT
    assert not set(kernel.message) & set("\x1b\u202e\x00")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from([COMPILED, FAILED, UNREAD]), st.data())
def test_nothing_but_the_one_error_comes_of_any_value(form: dict[str, Any], data: Any) -> None:
    key = data.draw(st.sampled_from(sorted(form)))
    reply = report({**form, key: data.draw(VALUES)})
    with contextlib.suppress(ChannelError):
        read_claims(reply, MODULE)


def test_both_sides_agree_on_targets_and_limits() -> None:
    assert tuple(claims.TARGETS) == ahead_of_time.TARGETS
    assert ahead_of_time.MAX_FINDINGS <= claims.MAX_FINDINGS
    assert ahead_of_time.MAX_UNREACHED <= claims.MAX_UNREACHED
    assert ahead_of_time.MAX_TEXT <= claims.MAX_TEXT
