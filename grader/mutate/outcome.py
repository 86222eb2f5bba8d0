"""What became of each mutant, and the report of a run. Pure nouns.

Takes: nothing. Gives: records, as JSON has them too. Does not cover: printing (`commands`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from grader.mutate.edits import Operator


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    EQUIVALENT = "equivalent"
    SURVIVED = "survived"
    NOT_RUN = "no case runs it"
    UNUSABLE = "not Python"


OPEN = (Fate.SURVIVED, Fate.NOT_RUN)
"""Fates that ask for a case, or for an entry in `equivalent.toml`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One mutant and what became of it.

    Attributes:
        name: of the mutant.
        file: that it changes; `line` is the number of the line, `function` its dotted name.
        before: the changed lines as they were; `after` as they are.
        killed_by: the case that failed, and how.
        confused: cases that failed themselves, which costs no student a point.
        cases: how many cases run the line.
        why: of an equivalent one, what `equivalent.toml` says.
    """

    name: str
    file: str
    line: int
    function: str
    operator: Operator
    before: str
    after: str
    fate: Fate
    killed_by: str = ""
    confused: tuple[str, ...] = ()
    cases: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MutationReport:
    """The result of one run on one assignment.

    Attributes:
        made: mutants that there are; `outcomes` are those that this run took.
        cases: cases that were played on them.
        complaints: what an author must do something about.
        seed: of the hidden cases.
        turn: of the sample.
        wall_s: that the run took.
    """

    assignment: str
    made: int
    outcomes: tuple[Outcome, ...]
    cases: int
    complaints: tuple[str, ...]
    seed: str
    turn: int
    wall_s: float

    @property
    def survivors(self) -> tuple[Outcome, ...]:
        """The mutants that ask for a case or an entry."""
        return tuple(one for one in self.outcomes if one.fate in OPEN)

    def rows(self) -> Sequence[tuple[str, int, int, int, int]]:
        """Return a row for each operator: made, killed, equivalent, survivors; then the sum."""
        counted = [one for one in self.outcomes if one.fate is not Fate.UNUSABLE]
        found = []
        for operator in Operator:
            ours = [one for one in counted if one.operator is operator]
            if ours:
                found.append(_row(operator.value, ours))
        return [*found, _row("all", counted)]


def _row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, int, int, int, int]:
    killed = sum(one.fate is Fate.KILLED for one in outcomes)
    equivalent = sum(one.fate is Fate.EQUIVALENT for one in outcomes)
    left = sum(one.fate in OPEN for one in outcomes)
    return name, len(outcomes), killed, equivalent, left
