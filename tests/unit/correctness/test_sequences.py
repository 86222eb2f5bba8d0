"""A failing sequence is shortened until nothing more can be left out."""

import pytest

from grader.assignment.steps import tap
from grader.author import Call, Draw, Expect, New, Operation, Raises, Sequence, sequence_case
from grader.correctness.drive import drive
from grader.correctness.instances import drive_sequence, failed
from grader.evidence.faults import FaultKind
from grader.student.local_worker import LocalWorker

DRAWN = [("push", 3), ("push", 1), ("pop", 0), ("push", 2), ("pop", 0), ("pop", 0), ("pop", 0)]


def play(sequence):
    """Play a stack, whose `pop` raises IndexError when it is empty."""
    yield "Stack()"
    stack = yield New("Stack")
    model = []
    for operation in sequence.operations:
        if operation.name == "push":
            model.append(operation.numbers[0])
            yield f"push({model[-1]})"
            yield Call(stack, "push", model[-1])
        elif model:
            yield "pop()"
            got = yield Call(stack, "pop")
            yield Expect(got, model.pop(), label="pop()")
        else:
            yield "pop()"
            yield Raises(Call(stack, "pop"), "IndexError", "pop()")


@sequence_case("Stack", "any", play=play)
def any_sequence(draw):
    """Anything."""
    operations = tuple(Operation(name=name, numbers=(number,)) for name, number in DRAWN)
    return Sequence(settings=(), operations=operations)


class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        return self.items.pop()


class Queue(Stack):
    def pop(self):
        return self.items.pop(0)


class Forgiving(Stack):
    def pop(self):
        return self.items.pop() if self.items else None


class Breaking(Stack):
    def push(self, item):
        if self.items:
            raise KeyError("hidden words")
        super().push(item)


class Unwritten(Stack):
    def pop(self):
        raise NotImplementedError


def measure(kind, *, alive=lambda: True):
    runs = []

    def run(steps):
        runs.append(steps)
        worker = LocalWorker({"Stack": kind}, {})
        return drive(steps, worker, check="any", index=0, public=False)

    return drive_sequence(any_sequence, Draw("s", (), 0), run, alive=alive), len(runs)


def test_a_passing_sequence_is_played_once():
    found, runs = measure(Stack)
    assert not failed(found)
    assert runs == 1


def test_a_wrong_value_is_named_with_the_shortest_sequence():
    found, runs = measure(Queue)
    assert runs > 1
    (label,) = [one.label for one in found.observations]
    sequence = "Stack(); push(0); push(1); pop()"
    assert label == f"pop(), 1 by the model, (shortest failing sequence found: {sequence})"


def test_a_missing_exception_is_named_as_well():
    found, _ = measure(Forgiving)
    assert [one.label for one in found.observations] == [
        "pop() (shortest failing sequence found: Stack(); pop())"
    ]


def test_an_exception_is_named_without_its_text():
    found, _ = measure(Breaking)
    (fault,) = found.faults
    assert fault.message == (
        "push raised KeyError, and no exception was expected "
        "(shortest failing sequence found: Stack(); push(0); push(0))"
    )


def test_a_missing_method_is_not_shrunk():
    found, runs = measure(Unwritten)
    assert found.faults[0].kind is FaultKind.MISSING
    assert "shortest" not in found.faults[0].message
    assert runs == 1


def test_after_a_crash_no_shorter_sequence_is_tried():
    found, runs = measure(Queue, alive=lambda: False)
    assert failed(found)
    assert runs == 1
    assert any("Stack(); push(3); push(1)" in one.label for one in found.observations)


@pytest.mark.parametrize("kind", [Queue, Forgiving, Breaking])
def test_the_same_submission_gets_the_same_sequence(kind):
    assert measure(kind)[0].observations == measure(kind)[0].observations


def test_a_public_case_has_steps_without_labels():
    steps = list(_steps_of(any_sequence(Draw("public", (), 0))))
    assert not any(isinstance(step, str) for step in steps)
    assert any_sequence.make.__doc__ == "Anything."


def _steps_of(steps):
    worker = LocalWorker({"Stack": Stack}, {})
    played = []

    def on_step(step):
        played.append(step)
        return step

    drive(tap(steps, on_step), worker, check="any", index=0, public=True)
    return played
