"""Every sentence that students read is asked by a check and broken, or said not to be graded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.errors import AuthorError
from grader.validate.known_submission import load_known_submissions
from grader.validate.ledger import compare_ledger
from grader.validate.sentences import RULES, fold, read_handout, read_starter
from tests.unit.validate.small_assignment import make_course

STARTER = '''
# %% [markdown]
# # Tiny
#
# Rules that hold everywhere: inputs stay as they are.

# %% tags=["export"]
def double(x):
    """Return *twice* `x`. Its strides
    do not matter.

    Raises:
        ValueError: if `x` has no dimension.
    """
    raise NotImplementedError
'''
HANDOUT = "# Tiny\n\n## What you build\n\nNothing else matters. Speed is not graded.\n"
WRONG = {
    "adds_one": '# caught_by = "double.values"\n# cause = "wrong_value"\n\n'
    "def double(x):\n    return 2 * x + 1\n",
    "takes_scalars": '# caught_by = "double.refuses"\n# cause = "wrong_error"\n\n'
    "def double(x):\n    return 2 * x\n",
}
LEDGER = """
sections = ["What you build"]

[[promise]]
where = "starter.py::Rules that hold everywhere"
says = "inputs stay as they are."
asked_by = ["double.values"]
broken_by = "adds_one"

[[promise]]
where = "starter.py"
says = "Return twice x. Its strides do not matter."
asked_by = ["double.values"]
broken_by = "adds_one"

[[promise]]
where = "starter.py::double"
says = "ValueError: if `x` has no dimension."
asked_by = ["double.refuses"]
broken_by = "takes_scalars"

[[promise]]
where = "README.md"
says = "Nothing else matters. Speed is not graded."
not_graded = "Speed is not graded."
"""


def compare(tmp_path, ledger=LEDGER, starter=STARTER):
    loaded = make_course(tmp_path, wrong=WRONG)
    (loaded.folder / "starter.py").write_text(starter)
    (loaded.folder / "README.md").write_text(HANDOUT)
    if ledger is not None:
        (loaded.reference / "promises.toml").write_text(ledger)
    return compare_ledger(loaded, load_known_submissions(loaded))


def test_a_whole_ledger_has_no_complaint_and_counts_by_place(tmp_path):
    found = compare(tmp_path)
    assert found.complaints == ()
    rows = [(r.place, r.sentences, r.promises, r.asked, r.not_graded) for r in found.rows]
    assert rows == [(RULES, 1, 1, 1, 0), ("double", 3, 2, 2, 0), ("What you build", 2, 1, 0, 1)]


def test_a_missing_ledger_is_a_complaint(tmp_path):
    (complaint,) = compare(tmp_path, None).complaints
    assert "promises.toml: not found" in complaint


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Return twice x. ", "", "starter.py, line 9: double: no promise covers 'Return twice x.'"),
        (" Its strides do not matter", "", "covers 'Its strides do not matter.'"),
        ("Return twice x", "twice x", "the words 'Return' of 'Return twice x.'"),
        ("Return twice x", "Return thrice x", "line 10: says: not in starter.py: 'Return thrice"),
        ("inputs stay as", "inputs stay what", "nearest sentence is 'inputs stay as they are.'"),
        ('["double.refuses"]', '["double.accepts"]', "no check or target called double.accepts"),
        ('"takes_scalars"', '"takes_all"', "line 16: broken_by: wrong/ has no 'takes_all'"),
        (
            '["double.refuses"]',
            '["double.refuses", "double.values"]',
            "takes_scalars.py keeps the points of double.values",
        ),
        ('["double.refuses"]', '["double.values"]', "also fails double.refuses, not in `asked_by`"),
        ('"Speed is not graded."\n', '"Time is free."\n', "neither README.md nor starter.py says"),
        ('"starter.py::double"', '"starter.py::halve"', "starter.py has no 'halve'"),
        ('"README.md"', '"LICENSE"', "expected starter.py or README.md, found 'LICENSE'"),
        ('["What you build"]', '["How to fly"]', "README.md has no section 'How to fly'"),
    ],
)
def test_each_mistake_is_named(tmp_path, old, new, said):
    assert old in LEDGER
    complaints = compare(tmp_path, LEDGER.replace(old, new)).complaints
    assert any(said in one for one in complaints), complaints


def test_a_text_that_stands_in_two_places_must_say_which(tmp_path):
    starter = STARTER.replace("Return *twice* `x`.", "Inputs matter; inputs stay as they are.")
    ledger = LEDGER.replace("::Rules that hold everywhere", "")
    complaints = compare(tmp_path, ledger, starter).complaints
    named = '"starter.py::Rules that hold everywhere", "starter.py::double"'
    assert any(f"choose `where` among {named}" in one for one in complaints), complaints


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("says =", "say =", r"line 4: unknown key 'say'; allowed here: asked_by"),
        ('"takes_scalars"', "7", r"line 16: broken_by: expected a string, found 7"),
        ('["double.refuses"]', "[7]", r"line 16: asked_by\[0\]: expected a string, found 7"),
        ('broken_by = "takes_scalars"', "", r"line 16: expected both"),
        ('not_graded = "Speed is not graded."', "", r"line 22: expected either"),
        ('"inputs stay as they are."', '""', r"line 4: says: expected a text"),
        ("sections = [", "sections = [7, ", r"promises.toml: sections\[0\]: expected a string"),
        ("[[promise]]", "[[promise", r"promises.toml: .*line 4"),
    ],
)
def test_a_ledger_that_cannot_be_read_is_the_authors(tmp_path, old, new, said):
    assert old in LEDGER
    with pytest.raises(AuthorError, match=said):
        compare(tmp_path, LEDGER.replace(old, new))


CLASS = '''
class Cache:
    """Keys, in order.

    - one: a bullet
      of two lines. Done.
    - two.

    Args:
        size: S, at least 1. More
            is slower.
        dtype: of keys.
    """

    def __init__(self, size, dtype): ...

    @property
    def length(self):
        """Tokens."""

    def pop(self):
        """Remove a token.

        Returns:
            The token, after which the
            cache is shorter.
            its_scale, float32: see `keys`.

        Raises:
            ValueError: if there is none;
                then nothing changes.
        """

    def _grow(self):
        """Private."""

def other():
    """Not exported."""
'''


def test_docstrings_are_split_into_sentences_and_entries():
    found = {p.place: [s.text for s in p.sentences] for p in read_starter(CLASS, ["Cache"])}
    assert found == {
        "Cache": [
            *("Keys, in order.", "one: a bullet of two lines.", "Done.", "two."),
            *("size: S, at least 1.", "More is slower.", "dtype: of keys."),
        ],
        "Cache.length": ["Tokens."],
        "Cache.pop": [
            *("Remove a token.", "The token, after which the cache is shorter."),
            *(
                "its_scale, float32: see keys.",
                "ValueError: if there is none; then nothing changes.",
            ),
        ],
    }
    (sentence,) = [s for s in read_starter(CLASS, ["Cache"])[0].sentences if "dtype" in s.text]
    assert CLASS.splitlines()[sentence.line - 1].strip() == "dtype: of keys."


def test_a_section_is_a_heading_or_a_bold_lead_without_tables_and_code():
    text = (
        "## Build\n\nOne. Two.\n\n| a. | b. |\n\n    code. Here.\n\n```\n## Code\nNo.\n```\n"
        "### Deeper\n\nThree.\n\n**State.** Four\nand five.\n\nSix.\n"
    )
    sections = ("Build", "Deeper", "State", "Code", "Missing")
    found = [[s.text for s in read_handout(text, title).sentences] for title in sections]
    assert found[:2] == [["One.", "Two."], ["Three.", "State.", "Four and five.", "Six."]]
    assert found[2:] == [["State.", "Four and five."], [], []]


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("`a`\n  **b**  *c*.", "a b c."),
        ("see [growth](#growth) of `x[i]`", "see growth of x[i]"),
        ("`base ** (-2 * i / D)`, 2*x and k_*", "base ** (-2 * i / D), 2*x and k_"),
    ],
)
def test_markup_and_white_space_are_folded(text, folded):
    assert fold(text) == folded


@given(st.text(alphabet="ab*`[](). \n", max_size=40))
def test_folding_twice_changes_no_more_words_than_folding_once(text):
    assert "`" not in fold(text)
    assert fold(text) == " ".join(fold(text).split())


@given(st.lists(st.from_regex(r"[A-Z][a-z]{0,5}( [a-z]{1,5}){0,3}\.", fullmatch=True), max_size=5))
def test_every_word_of_a_docstring_is_in_a_sentence(sentences):
    text = f'def f():\n    """{" ".join(sentences)}"""\n'
    (found,) = read_starter(text, ["f"]) or [None]
    assert (found.text if found else "") == " ".join(sentences)
