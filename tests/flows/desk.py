"""Somebody at a terminal, who types commands and reads what is printed.

The four journeys (`test_journey_*`) share one small course: the scaffold of `new-assignment`.
"""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLUG = "demo_assignment"
MEAN = (".sum(dim=1)", ".mean(dim=1)")
"""What makes the solution's second problem wrong, and leaves the first as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A folder in which somebody types, with an installation of their own.

    Attributes:
        folder: where commands are typed.
        home: where assignments are installed.
    """

    folder: Path
    home: Path

    def at(self, folder: str) -> "Desk":
        """Return the same person after `cd folder`."""
        return Desk(folder=self.folder / folder, home=self.home)

    def types(self, line: str, *, code: int = 0) -> str:
        """Run a line as typed, which must end with `code`; return what was printed, on one line.

        Neither spaces nor the width of the terminal matter in what is returned.
        """
        ran = self._run(line, code)
        return " ".join((ran.stdout + ran.stderr).split())

    def reads(self, line: str, *, code: int = 0) -> Any:
        """Run a line as typed, and return the JSON that it printed."""
        return json.loads(self._run(line, code).stdout)

    def lines(self, line: str, *, code: int = 0) -> list[str]:
        """Run a line as typed, and return the lines that it printed."""
        return self._run(line, code).stdout.splitlines()

    def _run(self, line: str, code: int) -> "subprocess.CompletedProcess[str]":
        program, *arguments = shlex.split(line)
        modules = {"grader": ("-m", "grader"), "python": ()}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADER_")}
        ran = subprocess.run(
            [sys.executable, *modules[program], *arguments],
            cwd=self.folder,
            env={**environment, "COLUMNS": "120", "GRADER_HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ran.returncode == code, f"$ {line}\n{ran.stdout}{ran.stderr}"
        assert "Traceback" not in ran.stderr, ran.stderr
        return ran


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The small course: its author's desk, and the texts of its files."""

    desk: Desk

    @property
    def solution(self) -> str:
        """The text of a module with full marks."""
        return (self.desk.folder / "reference" / SLUG / "solution.py").read_text()

    @property
    def wrong(self) -> str:
        """The text of a module that is right in the first problem and wrong in the second."""
        assert MEAN[0] in self.solution
        return self.solution.replace(*MEAN)

    @property
    def answers(self) -> tuple[str, str]:
        """The solution's function and its class."""
        head, class_keyword, rest = self.solution.partition("class RunningLogSumExp")
        return head[head.index("def log_sum_exp") :], class_keyword + rest

    def student(self, folder: Path) -> Desk:
        """Return the desk of a student with nothing installed."""
        folder.mkdir(parents=True, exist_ok=True)
        return Desk(folder=folder, home=folder / "home")


def open_course(folder: Path) -> Course:
    """Write the assignment, as its author does first."""
    desk = Desk(folder=folder, home=folder / "home")
    desk.types(f"grader new-assignment {SLUG}")
    return Course(desk=desk)


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text of a file that must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")
