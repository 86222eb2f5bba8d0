"""The box without walls: arguments are copies with their strides, and must come back unchanged."""

import numpy as np
import torch

from grader.assignment.steps import Call, Expect, New, OverwriteArguments
from grader.correctness.drive import drive
from grader.evidence.faults import FaultKind, LoadFailure
from grader.student.local_worker import LocalWorker


def run(steps, **namespace):
    return drive(steps, LocalWorker(namespace, {}), check="c", index=0, public=True)


def test_an_expanded_argument_arrives_with_its_strides():
    x = torch.arange(3.0).expand(2, 3)

    def steps():
        got = yield Call("strides", x)
        yield OverwriteArguments()
        yield Expect(got, (0, 1), label="strides")

    seen = run(steps(), strides=lambda t: tuple(t.stride()))
    assert not seen.faults
    assert seen.observations[0].comparison.error == 0.0


def test_numbers_of_numpy_and_torch_count_as_when_graded():
    def steps():
        got = yield Call("count")
        yield Expect(got, 3, label="count")

    for three in (np.int64(3), torch.tensor(3)):
        seen = run(steps(), count=lambda three=three: three)
        assert seen.observations[0].comparison.error == 0.0
    assert run(steps(), count=lambda: np.float32(3)).observations[0].comparison.error > 0


def test_overwritten_arguments_reach_a_student_who_kept_a_view():
    class Keeper:
        def keep(self, x):
            self.x = x

        def value(self):
            return self.x

    def steps():
        keeper = yield New("Keeper")
        yield Call(keeper, "keep", torch.ones(2))
        yield OverwriteArguments()
        got = yield Call(keeper, "value")
        yield Expect(got, torch.ones(2), label="value")

    seen = run(steps(), Keeper=Keeper)
    assert seen.observations[0].comparison.error > 0


def test_a_changed_input_is_found():
    def steps():
        yield Call("f", torch.ones(2))

    seen = run(steps(), f=lambda x: x.add_(1))
    assert seen.faults[0].kind is FaultKind.INPUT_CHANGED


def test_a_name_that_failed_to_load_is_explained():
    failure = LoadFailure(names=("gone", "f"), text="ValueError: no", where="kv.py, line 3")

    def faults(name):
        worker = LocalWorker({"g": lambda: gone}, {}, failures=[failure])  # type: ignore[name-defined] # noqa: F821
        (fault,) = drive(
            (step for step in [Call(name)]), worker, check="c", index=0, public=True
        ).faults
        return fault

    assert faults("f") == faults("g") == failure.fault
    assert faults("h").kind is FaultKind.MISSING


def test_the_place_of_an_exception_comes_from_whoever_knows_the_source():
    def steps():
        yield Call("f")

    worker = LocalWorker(
        {"f": lambda: 1 / 0}, {}, locate=lambda error: f"cell 3 ({type(error).__name__})"
    )
    seen = drive(steps(), worker, check="c", index=0, public=True)
    assert seen.faults[0].where == "cell 3 (ZeroDivisionError)"
