"""A failing sequence loses what it does not need, always in the same way."""

from hypothesis import given
from hypothesis import strategies as st

from grader.assignment.sequences import Operation, Sequence, shrink


def sequence(*operations, settings=()):
    return Sequence(
        settings=settings,
        operations=tuple(Operation(name=name, numbers=numbers) for name, *numbers in operations),
    )


def of(*names, settings=()):
    return Sequence(
        settings=settings, operations=tuple(Operation(name=name, numbers=()) for name in names)
    )


def names(found):
    return [operation.name for operation in found.operations]


def needs(*wanted):
    """Fail on sequences that hold these operations in this order."""

    def fails(candidate):
        left = iter(names(candidate))
        return all(name in left for name in wanted)

    return fails


def test_operations_that_do_not_matter_are_left_out():
    found = shrink(of(*"abcdefghijklmnop"), needs("c", "k"), tries=200)
    assert names(found) == ["c", "k"]


def test_numbers_and_settings_are_lowered_to_what_still_fails():
    start = Sequence(
        settings=(9, 4), operations=(Operation(name="a", numbers=(7, 8)), Operation(name="b"))
    )
    found = shrink(
        start,
        lambda s: (
            s.settings[0] >= 3 and any(o.name == "a" and o.numbers[1] >= 2 for o in s.operations)
        ),
        tries=200,
    )
    assert found == Sequence(settings=(3, 0), operations=(Operation(name="a", numbers=(0, 2)),))


def test_the_same_answers_give_the_same_attempts():
    def attempts():
        asked = []

        def fails(candidate):
            asked.append(candidate)
            return needs("b", "g")(candidate)

        shrink(of(*"abcdefgh"), fails, tries=200)
        return asked

    first, second = attempts(), attempts()
    assert first == second
    assert len(first) == len(set(first))


def test_the_number_of_attempts_is_bounded():
    asked = []

    def fails(candidate):
        asked.append(candidate)
        return needs("z")(candidate)

    found = shrink(of(*"abcdefghijklmnopqrstuvwxyz"), fails, tries=3)
    assert len(asked) == 3
    assert needs("z")(found)


def test_a_minimal_sequence_stays_as_it_is():
    start = of("a", "b", settings=(1,))
    assert shrink(start, lambda _: False, tries=50) == start


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.data())
def test_the_result_fails_and_no_single_operation_can_go(letters, data):
    wanted = data.draw(st.lists(st.sampled_from(letters), max_size=4)) if letters else []
    fails = needs(*wanted)
    if not fails(of(*letters)):
        return
    found = shrink(of(*letters), fails, tries=2000)
    assert fails(found)
    assert len(found.operations) == len(wanted)
