"""What the CUDA compiler said of a submission that it refused, in one sentence and one place.

Takes: its output, which is untrusted text. Gives: `explain`. Does not cover: what it says of
kernels that it took (see `advice.cuda_kernels`).

Three programs speak: nvcc's own front end (`a.cu(5): error: ...`), the host's compiler
(`a.cu:5:3: error: ...`), and assembler and linker, which name no line of the source.
"""

import re

from grader.intake.submission import Submission
from grader.measure.source_map import place_of

MAX_MESSAGE = 300

_ERRORS = (
    re.compile(r"^([^\s():]+)\((\d+)\): (?:catastrophic |fatal |internal )?error[^:]*: (.+)$"),
    re.compile(r"^([^\s():]+):(\d+):\d+: (?:fatal )?error: (.+)$"),
)
_PLACELESS = (
    re.compile(r"(undefined reference to .+)$"),
    re.compile(r"^.*\.s:\d+: Error: (.+)$"),
    re.compile(r"^ptxas .+; error\s+: (.+)$"),
    re.compile(r"^(?:nvcc|ptxas|cicc|\w+)\s+(?:fatal|error)\s*: (.+)$"),
    re.compile(r"^(?:.*: )?(?:fatal error|error|Error): (.+)$"),
)


def explain(said: str, submission: Submission) -> tuple[str, str]:
    """Return the first error and its place in what was handed in; the place may be empty.

    An error in a file that was not handed in is placed where that file's name or line does not
    matter: at the first line of the submission that the compiler names after it, if any.
    """
    lines = said.splitlines()
    for number, line in enumerate(lines):
        for pattern in _ERRORS:
            if match := pattern.match(line):
                rest = lines[number + 1 : number + 40]
                where = _place(submission, match[1], match[2]) or _next_place(submission, rest)
                return _cut(match[3]), where
    for pattern in _PLACELESS:
        for line in lines:
            if match := pattern.search(line):
                return _cut(match[1]), ""
    return "the compiler said nothing that could be understood", ""


def _place(submission: Submission, name: str, line: str) -> str:
    return place_of(submission, [[name.removeprefix("./"), int(line[:9]), ""]])


def _next_place(submission: Submission, lines: list[str]) -> str:
    """Return the first place in the submission that other lines name, such as "at line 3 of"."""
    for line in lines:
        for name, number in re.findall(r"([\w.-]+)[(:](\d+)", line):
            if where := _place(submission, name, number):
                return where
        match = re.search(r'line (\d+) of "?([\w.-]+)', line)
        if match and (where := _place(submission, match[2], match[1])):
            return where
    return ""


def _cut(text: str) -> str:
    kept = "".join(c if c.isprintable() else "\ufffd" for c in text.strip())
    return kept if len(kept) <= MAX_MESSAGE else f"{kept[:MAX_MESSAGE]}…"
