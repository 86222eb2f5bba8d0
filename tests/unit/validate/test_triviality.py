"""Trivial answers must fail; a tolerance that lets them pass is complained about."""

from dataclasses import replace
from typing import cast

from grader.cuda_cpp.builder import Builder
from grader.errors import SandboxError
from grader.sandbox.contract import Isolation
from grader.sandbox.pool import SandboxPool
from grader.validate.known_submission import KnownSubmission
from grader.validate.rehearsal import rehearse
from grader.validate.triviality import NOT_APPLICABLE, Trivial, lint
from grader.validate.validate import validate_assignment
from grader.worker.machine import TimedMachine
from tests.unit.validate.small_assignment import CASES, make_course


class NoSandboxes:
    """Sandboxes that cannot be had: known submissions stay unjudged, the lint needs none."""

    sandbox = "none"
    isolation = "warm"
    caveats = ()

    def borrow(self):
        raise SandboxError("no sandbox in this test")


def results(loaded):
    return {result.trivial: result for result in linted(loaded)}


def linted(loaded, kinds=tuple(Trivial)):
    """Return the results of trivial submissions, after the solution has played all cases."""
    done = rehearse(loaded)
    return lint(loaded, done.solution, done.harness, done.played, kinds=kinds)


def validate_without_sandboxes(loaded, on_known=lambda known, seconds: None, seeds=0):
    sandboxes = cast(SandboxPool, NoSandboxes())
    builder = Builder(
        loaded, sandbox="none", isolation=Isolation.WARM, image="", first_slot=9
    )  # starts nothing: no known submission is in C++
    rehearsal = rehearse(loaded)
    assert rehearsal.causes == ()
    return validate_assignment(
        loaded,
        rehearsal,
        sandboxes,
        jobs=1,
        seeds=seeds,
        on_known=on_known,
        machine=TimedMachine(),
        builder=builder,
    )


def complaints(loaded):
    validation = validate_without_sandboxes(loaded)
    return [c for c in validation.validation.complaints if c.startswith("double: a submission")]


def test_a_tight_tolerance_catches_every_trivial_answer(tmp_path):
    loaded = make_course(tmp_path)
    found = results(loaded)
    assert set(found) == set(Trivial)
    for trivial, result in found.items():
        assert result.applied, trivial
        assert result.caught, trivial
        assert (result.problem, result.confused) == ("double", ())
        assert "values" in result.note
    assert complaints(loaded) == []


def test_a_tolerance_that_zeros_pass_is_complained_about(tmp_path):
    """No tolerance below 1 lets zeros pass; a case that compares no values does."""
    cases = CASES.replace("lambda: 2 * x", "lambda: 0 * x").replace("got, ", "0 * got, ")
    loaded = make_course(tmp_path, cases=cases)
    found = results(loaded)
    assert found[Trivial.ZEROS].applied
    assert not found[Trivial.ZEROS].caught
    said = "double: a submission that answers with zeros passes every check; the problem cannot be"
    assert f"{said} graded" in complaints(loaded)


def test_a_loose_tolerance_lets_shortcuts_pass(tmp_path):
    loaded = make_course(tmp_path, tolerance="0.9")
    found = results(loaded)
    assert not found[Trivial.HALF].caught
    assert found[Trivial.ZEROS].caught
    said = complaints(loaded)
    assert any("answers with half precision passes" in complaint for complaint in said)
    assert not any("answers with zeros" in complaint for complaint in said)


def test_what_never_applies_has_a_reason(tmp_path):
    cases = CASES.replace("draw.normal_tensor(5)", "draw.integer_tensor(1, low=1, high=9)")
    found = results(make_course(tmp_path, cases=cases))
    for trivial in (Trivial.HALF, Trivial.MEAN, Trivial.OFF_BY_ONE):
        assert not found[trivial].applied
        assert found[trivial].note == NOT_APPLICABLE[trivial]
    assert found[Trivial.ZEROS].caught


def test_a_case_that_takes_a_reply_apart_too_early_is_named(tmp_path):
    cases = CASES.replace("yield Expect(got, ", "yield Expect(got[0], ").replace(
        "lambda: 2 * x", "lambda: 2 * x[0]"
    )
    loaded = make_course(tmp_path, cases=cases)
    assert results(loaded)[Trivial.NOTHING].confused == ("values",)
    validation = validate_without_sandboxes(loaded)
    assert any(
        "double.values: its case itself fails" in c for c in validation.validation.complaints
    )


def test_every_kind_has_a_reason_not_to_apply():
    assert set(NOT_APPLICABLE) == set(Trivial)


def test_specimens_without_a_wall_are_our_failure_not_a_pass(tmp_path):
    seen: list[tuple[KnownSubmission, float]] = []
    validation = validate_without_sandboxes(make_course(tmp_path), lambda *one: seen.append(one))
    assert [known.name for known, _ in seen] == ["starter", "solution", "sum"]
    assert all(seconds >= 0 for _, seconds in seen)
    assert sum("could not be judged" in c for c in validation.validation.complaints) == 6
    assert sum("promises.toml: not found" in c for c in validation.validation.complaints) == 1


def test_the_solution_runs_once_for_all_trivial_answers(tmp_path):
    loaded = make_course(tmp_path)
    done = rehearse(loaded)
    calls: list[object] = []

    def double(x):
        calls.append(x)
        return done.solution["double"](x)

    counting = {**done.solution, "double": double}
    played = lint(loaded, counting, {}, done.played)
    assert calls == []
    # An empty recording fits no case, so every case runs again.
    unrecorded = {
        name: [replace(case, replies=()) for case in cases] for name, cases in done.played.items()
    }
    assert lint(loaded, counting, {}, unrecorded) == played
    assert len(calls) > 6 * len(Trivial)
