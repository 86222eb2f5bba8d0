"""Names of public cases, damaged recordings, and when a graded case may be shown as code."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.assignment.folders import harness_files
from grader.assignment.plan import hash_folder
from grader.assignment.public_cases import (
    CaseName,
    choose_case,
    code_of_case,
    code_of_graded_case,
    list_cases,
    split_case_name,
)
from grader.errors import AuthorError, UsageError

SLUG = "demo_assignment"
VALUES = CaseName(problem="log_sum_exp", check="values", index=0)


@pytest.fixture
def copied(assignment, tmp_path, monkeypatch):
    folder = tmp_path / "assignments" / SLUG
    shutil.copytree(assignment, folder)
    monkeypatch.chdir(tmp_path)
    code_of_graded_case.cache_clear()
    return folder


def test_names_are_read_as_they_are_written(assignment):
    for name in list_cases(assignment, ("log_sum_exp", "RunningLogSumExp")):
        assert split_case_name(str(name)) == name
        assert split_case_name(f"'{name}'") == name  # as some shells pass it on


@given(st.text())
@settings(deadline=None)
def test_any_other_text_is_a_usage_error_with_all_names(text):
    with pytest.raises(UsageError) as raised:
        choose_case(f"{text}!", (VALUES,))
    assert "log_sum_exp.values[0]" in raised.value.hint


def test_a_check_alone_means_its_first_case(assignment):
    known = list_cases(assignment, ("log_sum_exp",))
    assert choose_case("log_sum_exp.values", known) == VALUES
    with pytest.raises(UsageError, match=r"nearest: .*log_sum_exp\.values\[0\]"):
        choose_case("log_sum_exp.valeus", known)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"schema_version": 99}', '{"schema_version": 1, "checks": [3]}']
)
def test_a_damaged_recording_is_named(copied, text):
    (copied / "public" / "log_sum_exp.json").write_text(text)
    with pytest.raises(AuthorError, match=r"log_sum_exp\.json: damaged"):
        code_of_case(copied, VALUES)


def test_a_graded_case_is_shown_only_of_what_was_graded(copied):
    graded = hash_folder(copied, harness_files(copied))
    code = code_of_graded_case(SLUG, graded, VALUES, module=SLUG)
    assert code == code_of_case(copied, VALUES, module=SLUG)
    assert code_of_graded_case(SLUG, "another", VALUES, module=SLUG) == ""
    assert code_of_graded_case("nowhere", graded, VALUES, module=SLUG) == ""
    missing = CaseName(problem="log_sum_exp", check="values", index=99)  # as a hidden one has
    assert code_of_graded_case(SLUG, graded, missing, module=SLUG) == ""


def test_the_code_is_cut_after_a_step(copied):
    tree = json.loads((copied / "public" / "RunningLogSumExp.json").read_text())
    check = tree["checks"][0]["name"]
    name = CaseName(problem="RunningLogSumExp", check=check, index=0)
    whole = code_of_case(copied, name)
    first = code_of_case(copied, name, until=1)
    assert "c.compare" in whole
    assert "c.compare" not in first
    assert "RunningLogSumExp(" in first
