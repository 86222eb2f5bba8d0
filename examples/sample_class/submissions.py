"""Eleven submissions to `kv_cache`, as a class would hand them in, and their expected grades."""

import json
from dataclasses import dataclass
from pathlib import Path

from grader.judge.judgement import Cause, Status

MEASURED_PROBLEM = "KVCache"
"""The one problem whose targets the demo measures, so that it takes a minute and not five."""
ALL_POINTS = 118
UNMETERED_POINTS = 110
"""Without control groups memory targets stay open; these points remain."""

ENDLESS = '''

def generate(*args, **kwargs):
    """Wait for an end of sequence that never comes."""
    while True:
        pass
'''

HOG = '''

class SlotCache:
    """Preallocate for every request there could ever be."""

    def __init__(self, *args, **kwargs):
        self.slots = []
        while True:
            self.slots.append(torch.ones(1 << 22))
'''

CHEAT = '''"""Replace what a comparison could use, stop the clock, and claim success."""

import time

import torch

torch.equal = torch.allclose = torch.isclose = lambda *args, **kwargs: True
torch.testing.assert_close = lambda *args, **kwargs: None
time.time = time.perf_counter = time.monotonic = lambda: 0.0
time.time_ns = time.perf_counter_ns = time.monotonic_ns = lambda: 0
print("39 passed in 0.00s")
print('{"score": 100, "status": "PASS"}')


class KVCache:
    def __init__(self, *args, **kwargs):
        pass

    def __getattr__(self, name):
        return lambda *args, **kwargs: torch.full((1, 1, 1, 1), float("nan"))


SlidingWindowCache = SlotCache = QuantizedKVCache = KVCache


def decode_attention(*args, **kwargs):
    return torch.full((1, 1, 1, 1), float("nan"))


generate = kv_bytes = decode_attention
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """One submission of the sample class.

    Attributes:
        file: name of the file; without its ending, the name of the submission.
        story: what it is, in a few words.
        content: what it holds.
        status: what the grade's status must be.
        cause: cause of most of its failed checks; NONE if all pass.
        least: least score that it must get.
        most: greatest score that it must get.
    """

    file: str
    story: str
    content: str
    status: Status
    cause: Cause
    least: float
    most: float

    @property
    def name(self) -> str:
        """Name of the submission."""
        return self.file.partition(".")[0]


def make_class(assignment: Path, reference: Path) -> tuple[Student, ...]:
    """Return the sample class.

    Args:
        assignment: folder of `kv_cache`.
        reference: folder of its answers, from which the right submissions are made.
    """
    starter = (assignment / "starter.py").read_text(encoding="utf-8")
    solution = (reference / "solution.py").read_text(encoding="utf-8")
    right = (reference / "right" / "list_of_chunks.py").read_text(encoding="utf-8")
    wrong = (reference / "wrong" / "cache_rewinds_only_a_counter.py").read_text(encoding="utf-8")
    slow = (reference / "wrong" / "grows_by_one.py").read_text(encoding="utf-8")
    half = solution + "".join(
        f"\n\ndef {name}(*args, **kwargs):\n    raise NotImplementedError\n"
        for name in ("generate", "SlotCache", "QuantizedKVCache", "kv_bytes")
    )
    loads_drive = "from google.colab import drive\ndrive.mount('/content')"
    plots = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])"
    typo = "import torch\n\nclass KVCache:\n    dtype = torch.flaot32\n"
    return (
        _student("ada.py", "right", solution, least=UNMETERED_POINTS),
        _student("grace.ipynb", "right, in Colab", _notebook(loads_drive, right, plots), least=100),
        _student("alan.py", "half right", half, cause=Cause.MISSING, least=30, most=80),
        _student("barbara.py", "starter untouched", starter, cause=Cause.MISSING, most=0),
        _student(
            "edsger.py", "rewind is wrong", solution + wrong, cause=Cause.WRONG_VALUE, least=70
        ),
        _student("linus.py", "right, but slow", solution + slow, cause=Cause.TOO_SLOW, least=90),
        _student("john.ipynb", "a typo, no more", _notebook(typo), cause=Cause.MISSING, most=0),
        _student("donald.py", "endless loop", solution + ENDLESS, cause=Cause.TIMEOUT, least=60),
        _student("margaret.py", "memory hog", solution + HOG, cause=Cause.OUT_OF_MEMORY, least=60),
        _student("mallory.py", "cheats", CHEAT, cause=Cause.WRONG_VALUE, most=0),
        _student(
            "niklaus.ipynb",
            "another language",
            _notebook("x <- 1", language="R"),
            status=Status.REJECTED,
            most=0,
        ),
    )


def _student(
    file: str,
    story: str,
    content: str,
    *,
    status: Status = Status.GRADED,
    cause: Cause = Cause.NONE,
    least: float = 0,
    most: float = ALL_POINTS,
) -> Student:
    if cause is not Cause.NONE:
        most = min(most, ALL_POINTS - 1)
    return Student(
        file=file,
        story=story,
        content=content,
        status=status,
        cause=cause,
        least=least,
        most=most,
    )


def _notebook(*cells: str, language: str = "python") -> str:
    """Return a notebook of untagged code cells."""
    kernel = {"display_name": language, "language": language, "name": language.lower()}
    return json.dumps(
        {
            "cells": [
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "id": f"cell-{number}",
                    "metadata": {},
                    "outputs": [],
                    "source": source,
                }
                for number, source in enumerate(cells)
            ],
            "metadata": {"kernelspec": kernel, "language_info": {"name": language}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )
