"""Trivial answers of ranks: worlds take a while to start, so each case has them once."""

from dataclasses import replace

import pytest

from grader.assignment.steps import Call, New, Ref
from grader.student.local_ranks import LocalRanks
from grader.validate.recording import Deviation, PlayedRanks, RecordedReply
from grader.validate.rehearsal import rehearse
from grader.validate.triviality import Trivial, lint
from tests.unit.validate.small_assignment import rank_course

FEW = (Trivial.NOTHING, Trivial.COPIED_INPUT, Trivial.HALF)
RECORDING = (
    RecordedReply(asked=((2, "World"),), replies={}),
    RecordedReply(asked=((0, "Call(f, )"), (1, "Call(f, )")), replies={1: "one", 0: "zero"}),
)


def linted(kinds, monkeypatch, recorded=lambda case: case.replies):
    """Return the results for some kinds, and how many worlds were started for them."""
    loaded = rank_course()
    started, world = [], LocalRanks.world

    def counted(self, size):
        started.append(size)
        world(self, size)

    with monkeypatch.context() as patch:
        patch.setattr(LocalRanks, "world", counted)
        done = rehearse(loaded)
        played = {
            name: [replace(case, replies=recorded(case)) for case in cases]
            for name, cases in done.played.items()
        }
        return lint(loaded, done.solution, done.harness, played, kinds=kinds), started


def test_every_world_is_started_once_for_all_trivial_answers(monkeypatch: pytest.MonkeyPatch):
    _, once = linted((), monkeypatch)
    results, started = linted(FEW, monkeypatch)
    assert started == once != []
    assert {(r.problem, r.trivial) for r in results if r.caught} >= {
        (problem, trivial)
        for problem in ("average", "Shard")
        for trivial in (Trivial.NOTHING, Trivial.HALF)
    }


def test_played_answers_come_to_the_same_end_as_live_ones(monkeypatch: pytest.MonkeyPatch):
    played, once = linted(FEW, monkeypatch)
    # An empty recording fits no case, so every case runs again.
    live, started = linted(FEW, monkeypatch, recorded=lambda case: ())
    assert live == played
    assert len(started) > len(once)


def test_ranks_are_played_while_they_are_asked_the_same():
    ranks = PlayedRanks(RECORDING)
    ranks.world(2)
    call = Call("f")
    assert ranks.size == 2
    assert list(ranks.ask({0: call, 1: call}, None).items()) == [(1, "one"), (0, "zero")]
    assert not ranks.deviated


@pytest.mark.parametrize(
    "asked",
    [
        lambda ranks: ranks.world(3),
        lambda ranks: ranks.ask({0: Call("f")}, None),
        lambda ranks: ranks.call(Call("f")),
        lambda ranks: ranks.new(Ref(0), New("F")),
    ],
)
def test_another_question_is_noticed(asked):
    ranks = PlayedRanks(RECORDING)
    with pytest.raises(Deviation):
        asked(ranks)
    assert ranks.deviated
