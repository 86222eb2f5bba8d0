"""Every allowed combination of levels is in some row, for every seed; excluded ones are in none."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.assignment.covering import Universe, combinations_in, covering_rows
from grader.assignment.declare import RowMaker, case
from grader.assignment.draw import PUBLIC_SEED, Draw
from grader.assignment.factors import Excluded, Factors, Row, Selection, hidden_array, universe_of
from grader.author import Call, Expect, Raises
from grader.errors import AuthorError

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@st.composite
def universes(draw):
    sizes = tuple(draw(SIZES))
    cells = [(f, level) for f, size in enumerate(sizes) for level in range(size)]
    combination = st.lists(
        st.sampled_from(cells), min_size=1, max_size=3, unique_by=lambda one: one[0]
    )
    forbidden = draw(st.lists(combination, max_size=6))
    return Universe(sizes=sizes, forbidden=tuple(tuple(sorted(one)) for one in forbidden))


def allowed_rows(universe):
    for row in itertools.product(*map(range, universe.sizes)):
        cells = set(enumerate(row))
        if not any(cells >= set(one) for one in universe.forbidden):
            yield row


@settings(max_examples=60, deadline=None)
@given(universes(), st.integers(1, 3), st.text(max_size=4))
def test_rows_have_every_allowed_combination_whatever_the_seed(universe, strength, seed):
    strength = min(strength, len(universe.sizes))
    allowed = set(allowed_rows(universe))
    wanted = {one for row in allowed for one in combinations_in(row, strength)}
    assert set(universe.combinations(strength)) == wanted
    rows = covering_rows(universe, strength, Draw(seed, ("a",), 0))
    assert set(rows) <= allowed
    assert {one for row in rows for one in combinations_in(row, strength)} == wanted


@given(universes(), st.text(max_size=4))
def test_a_completed_row_is_allowed(universe, seed):
    allowed = set(allowed_rows(universe))
    assert universe.allows(()) == bool(allowed)
    if allowed:
        start = tuple(enumerate(min(allowed)))[:1]
        row = universe.complete(start, Draw(seed, ("a",), 0))
        assert row in allowed
        assert row[0] == start[0][1]


def test_a_universe_without_rows_has_an_empty_array():
    nothing = Universe(sizes=(2,), forbidden=(((0, 0),), ((0, 1),)))
    assert covering_rows(nothing, 1, Draw("s", ("a",), 0)) == ()


def test_rows_are_few():
    rows = covering_rows(Universe(sizes=(4, 3, 3, 3, 2, 2)), 2, Draw("s", ("a",), 0))
    assert 12 <= len(rows) <= 15


# What authors write -------------------------------------------------------------------------------

SMALL = Factors(
    "softmax",
    {"dtype": (torch.float32, torch.float16), "columns": (1, 64, 65), "causal": (True, False)},
    excluded=(
        Excluded(
            "half needs a tile", lambda row: row["columns"] == 1 and row["dtype"] != torch.float32
        ),
        Excluded("one column has no mask", lambda row: row["columns"] == 1 and row["causal"]),
    ),
    strength=2,
    reason="the third changes nothing",
)


def names(row):
    return {(factor, str(level)) for factor, level in row._levels.items()}


def pairs_of(rows):
    return {frozenset(pair) for row in rows for pair in itertools.combinations(names(row), 2)}


def hidden_rows(selection, seed, instances=3, check="c"):
    draws = [Draw(seed, ("a", "softmax", check), index) for index in range(instances)]
    return [row for draw in draws for row in selection.rows(draw, instances)]


def test_an_impossible_pair_is_in_no_row():
    forbidden = frozenset({("columns", "1"), ("dtype", "torch.float16")})
    for seed in ("a", "b", "c"):
        assert forbidden not in pairs_of(hidden_rows(Selection(SMALL), seed))
    assert ((0, 1), (1, 0)) not in universe_of(SMALL).combinations(2)
    assert len(universe_of(SMALL).combinations(2)) == 6 + 4 + 6 - 2


def test_rows_depend_on_the_seed_and_on_nothing_else():
    first = [row.label for row in hidden_rows(Selection(SMALL), "s")]
    hidden_array.cache_clear()
    again = Factors("softmax", SMALL.levels, excluded=SMALL.excluded, strength=2, reason="same")
    assert [row.label for row in hidden_rows(Selection(again), "s")] == first
    others = {tuple(row.label for row in hidden_rows(Selection(SMALL), str(n))) for n in range(9)}
    assert len(others) > 4


def test_the_first_row_of_a_seed_stays_what_it_is():
    """A change here changes the cases of every class that is being graded."""
    rows = covering_rows(Universe(sizes=(3, 2, 2)), 2, Draw("s", ("a",), 0))
    assert rows == PINNED


PINNED = ((1, 1, 0), (2, 1, 1), (0, 0, 1), (2, 0, 0), (1, 0, 1), (0, 1, 0))


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=4).filter(lambda seed: seed != PUBLIC_SEED), st.integers(1, 4))
def test_checks_that_share_factors_cover_them_together(seed, instances):
    one = Selection(SMALL, lambda row: row["columns"] == 1)
    more = Selection(SMALL, lambda row: row["columns"] > 1)
    rows = hidden_rows(one, seed, instances) + hidden_rows(more, seed, instances, check="d")
    everything = hidden_rows(Selection(SMALL), seed, instances)
    assert pairs_of(rows) == pairs_of(everything)
    universe = universe_of(SMALL)
    assert len(pairs_of(rows)) == len(universe.combinations(2))


@given(st.integers(1, 9), st.text(max_size=3))
def test_every_instance_has_a_row(instances, seed):
    narrow = Selection(SMALL, lambda row: row["columns"] == 1)
    for index in range(instances + 2):
        assert narrow.rows(Draw(seed, ("a", "softmax", "c"), index), instances)
    assert {row["columns"] for row in hidden_rows(narrow, seed, instances)} == {1}


def test_public_rows_show_each_level_that_the_check_takes():
    more = Selection(SMALL, lambda row: row["columns"] > 1)
    seen = set().union(*(names(row) for row in hidden_rows(more, PUBLIC_SEED, 2)))
    assert seen == {
        *(("dtype", f"torch.float{bits}") for bits in (16, 32)),
        *(("columns", "64"), ("columns", "65"), ("causal", "True"), ("causal", "False")),
    }


def test_one_factor_shows_each_level_once():
    one = Factors("softmax", {"columns": (1, 64, 65)})
    assert one.ways == 1
    assert sorted(row["columns"] for row in hidden_rows(Selection(one), "s")) == [1, 64, 65]


@pytest.mark.parametrize(("count", "ways"), [(2, 2), (8, 3), (9, 2)])
def test_few_factors_are_covered_by_triples(count, ways):
    assert Factors("p", {f"f{n}": (0, 1) for n in range(count)}).ways == ways


def test_a_label_names_the_levels():
    row = SMALL.row((1, 2, 1))
    assert row.label == "dtype float16, columns 65, not causal"
    assert row.read == set()
    assert SMALL.row((0, 1, 0)).label == "columns 64"  # the first dtype and truth value are usual
    assert Factors("p", {"a": ("x", "y")}).row((0,)).label == "nothing special"
    assert row["columns"] == 65
    assert row.read == {"columns"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Factors("p", {}), "at least one factor"),
        (lambda: Factors("p", {"a": ()}), "a: expected levels"),
        (lambda: Factors("p", {"a": (1, "1")}), "different texts"),
        (lambda: Factors("p", {"a": (1, 2)}, strength=1), "have a `reason`"),
        (
            lambda: Factors(
                "p", {"a": (1, 2)}, excluded=(Excluded("no", lambda row: row["a"] == 1),)
            ),
            "a 1 is excluded in every row",
        ),
        (
            lambda: Factors("p", {"a": (1, 2)}, excluded=(Excluded("?", lambda row: row["b"]),)),
            "no factor is called 'b'; the factors are a",
        ),
        (
            lambda: Factors(
                "p", {f"f{n}": (0, 1) for n in range(20)}, excluded=(Excluded("?", _sums_to_9),)
            ),
            "more than 20,000 combinations",
        ),
        (lambda: Selection(SMALL, lambda row: row["columns"] == 7), "takes no allowed row"),
    ],
)
def test_what_cannot_be_covered_is_refused(make, message):
    with pytest.raises(AuthorError, match=message):
        make()


def _sums_to_9(row):
    return sum(row.values()) == 9


# Cases that play rows -----------------------------------------------------------------------------


def wide(draw, row):
    """Softmax of anything."""
    got = yield Call("softmax", draw.integer(0, 9), row["columns"])
    yield Expect(got, row["dtype"], label="probabilities")
    yield Raises(Call("softmax"), "ValueError", "no input")


def steps_of(maker, seed, index=0):
    return list(maker(Draw(seed, ("a", "softmax", "wide"), index)))


def test_a_case_plays_its_rows_one_after_the_other():
    maker = case("softmax", "wide", public=2, hidden=3, factors=SMALL)(wide)
    assert isinstance(maker, RowMaker)
    assert maker.make.__doc__ == "Softmax of anything."
    assert maker.code is wide.__code__
    played = [steps_of(maker, "s", index) for index in range(3)]
    assert sum(map(len, played)) == 3 * len(hidden_array(SMALL, ("a",), "s"))
    expected = [row.label for row in hidden_rows(maker.selection, "s")]
    told = [step.label for steps in played for step in steps if isinstance(step, Expect)]
    assert told == [f"{label}: probabilities" for label in expected]
    assert played[0][2].label == f"{expected[0]}: no input"
    assert played == [steps_of(maker, "s", index) for index in range(3)]


def test_what_a_case_reads_is_known():
    maker = case("softmax", "wide", factors=SMALL)(wide)
    assert isinstance(maker, RowMaker)
    rows: list[Row] = []
    list(maker.play(Draw("s", ("a", "softmax", "wide"), 0), rows))
    assert {frozenset(row.read) for row in rows} == {frozenset({"columns", "dtype"})}


@pytest.mark.parametrize("counts", [{"public": 0}, {"hidden": 0}, {}])
def test_a_case_with_factors_has_instances_and_its_own_problem(counts):
    problem = "softmax" if counts else "other"
    with pytest.raises(AuthorError, match="expected those of"):
        case(problem, "wide", factors=SMALL, **counts)(wide)
