import re

from hypothesis import given
from hypothesis import strategies as st

from grader.intake.files import show
from grader.intake.roster import make_safe, make_unique


@given(st.lists(st.text(max_size=120), max_size=30))
def test_names_are_always_safe_and_unique(names: list[str]) -> None:
    made = make_unique(names)
    assert len(made) == len(names)
    assert len({name.lower() for name in made}) == len(names)
    for name in made:
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}", name)


@given(st.lists(st.sampled_from(["A", "a", "a-2", "A-2", "a-3", "a" * 90, "a" * 78 + "-2"])))
def test_colliding_names_get_suffixes(names: list[str]) -> None:
    made = make_unique(names)
    assert len({name.lower() for name in made}) == len(names)
    assert all(len(name) <= 80 for name in made)


def test_suffixes_count_from_two_in_order() -> None:
    assert make_unique(["bob", "Bob", "bob"]) == ["bob", "Bob-2", "bob-3"]


def test_accents_fall_away_and_other_scripts_stay_apart() -> None:
    assert make_safe("Renée Müller") == "Renee_Muller"
    assert make_safe("王") != make_safe("李") != "unnamed"
    assert make_safe("../..") == "unnamed"
    assert make_safe(".ssh/id") == "ssh_id"


def test_shown_names_are_printable_and_short() -> None:
    assert show("a\x1b[31m\ud800\n") == "a?[31m??"
    assert len(show("x" * 500)) == 100
