"""Mutants of a small course are killed, survive a weak case, or are ended with their time."""

import pytest
from rich.console import Console

from grader.assignment.loaded import load_assignment_with_reference
from grader.commands.mutation import print_mutation
from grader.errors import AuthorError, UsageError
from grader.mutate import hunt as hunting
from grader.mutate.equivalent import FILE
from grader.mutate.hunt import Options, hunt
from grader.mutate.outcome import Fate
from tests.unit.validate.small_assignment import CASES, SOLUTION, make_course, rank_course

WEAK = CASES.replace("draw.normal_tensor(5)", "0 * draw.normal_tensor(5)")
ALL = Options(jobs=1)


def course(tmp_path, *, cases=CASES, solution=SOLUTION, equivalent=""):
    loaded = make_course(tmp_path, cases=cases)
    (loaded.reference / "right" / "sum.py").unlink()
    (loaded.reference / "solution.py").write_text(solution)
    (loaded.reference / FILE).write_text(equivalent)
    folders = loaded.folder, loaded.reference
    return load_assignment_with_reference(*folders, device="cpu", seed="s")


def fates(report):
    return {one.after: one.fate for one in report.outcomes}


def test_good_cases_kill_every_mutant(tmp_path):
    report = hunt(course(tmp_path), ALL)
    assert not report.survivors
    assert not report.complaints
    assert {one.fate for one in report.outcomes} == {Fate.KILLED}
    assert "double.values" in next(o for o in report.outcomes if o.after == "return x").killed_by


def test_a_weak_case_leaves_survivors(tmp_path):
    report = hunt(course(tmp_path, cases=WEAK), ALL)
    assert fates(report)["return x"] is Fate.SURVIVED
    assert fates(report)["if False:"] is Fate.KILLED
    assert any(said.endswith("return 2 * x -> return x") for said in report.complaints)
    console = Console(record=True, width=200)
    print_mutation(report, console)
    text = console.export_text()
    assert "survived: solution.py, line 5 (double)" in text
    assert "+ return x" in text


def test_a_line_that_no_case_runs_is_told_apart(tmp_path):
    solution = SOLUTION.replace(
        "return 2 * x", "if x.dim() == 3:\n        return 2 - x\n    return 2 * x"
    )
    report = hunt(course(tmp_path, solution=solution), ALL)
    assert fates(report)["return 2 + x"] is Fate.NOT_RUN


def test_an_entry_with_a_sentence_ends_the_complaint(tmp_path):
    name = "solution.py: double: arithmetic: return 2 * x -> return x"
    text = f'[[mutant]]\nname = "{name}"\nwhy = "Only zeros are doubled."\n'
    report = hunt(course(tmp_path, cases=WEAK, equivalent=text), ALL)
    assert fates(report)["return x"] is Fate.EQUIVALENT
    assert not any(name in said for said in report.complaints)


def test_an_endless_loop_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(hunting, "CPU_LEAST_S", 0.1)
    monkeypatch.setattr(hunting, "CPU_FACTOR", 2.0)
    loop = "    n = 1\n    while n > 0:\n        n -= 1\n    return 2 * x"
    report = hunt(course(tmp_path, solution=SOLUTION.replace("    return 2 * x", loop)), ALL)
    (endless,) = (one for one in report.outcomes if one.after == "n += 1")
    assert endless.fate is Fate.KILLED
    assert endless.killed_by.endswith("(its process ended, or ran out of time)")


def test_a_mutant_that_waits_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(hunting, "WALL_LEAST_S", 0.5)
    monkeypatch.setattr(hunting, "WALL_FACTOR", 1.0)
    wait = "    if x.dim() == 9:\n        import time\n        time.sleep(3600)\n    return 2 * x"
    report = hunt(course(tmp_path, solution=SOLUTION.replace("    return 2 * x", wait)), ALL)
    assert "no reply in time" in {o.after: o.killed_by for o in report.outcomes}["if True:"]


def test_a_case_that_fails_itself_kills_nothing(tmp_path):
    cases = CASES.replace("yield Expect(got, lambda: 2 * x,", "got + 1\n        yield Expect(0, 0,")
    solution = SOLUTION.replace("return 2 * x", "return (x, x)[1]")
    report = hunt(course(tmp_path, cases=cases, solution=solution), ALL)
    (one,) = (one for one in report.outcomes if one.after == "return (x, x)[2]")
    assert one.fate is Fate.KILLED
    assert all(one.fate is not Fate.KILLED for one in report.outcomes if one.confused)


def test_samples_take_turns_until_all_are_taken(tmp_path):
    loaded = course(tmp_path)
    everything = {one.name for one in hunt(loaded, ALL).outcomes}
    size = -(-len(everything) // 2)
    halves = [hunt(loaded, Options(jobs=1, sample=size, turn=turn)) for turn in (0, 1)]
    names = [{one.name for one in half.outcomes} for half in halves]
    assert len(names[0]) == size
    assert names[0] | names[1] == everything


def test_right_answers_are_mutated_too(tmp_path, monkeypatch):
    monkeypatch.setattr(hunting, "SHARE_OF_RIGHT", 1)
    report = hunt(make_course(tmp_path), ALL)
    assert {"solution.py", "right/sum.py"} == {one.file for one in report.outcomes}


def test_a_right_submission_that_fails_is_told(tmp_path):
    with pytest.raises(AuthorError, match=r"solution\.py fails double\.values, public case 0"):
        hunt(course(tmp_path, solution=SOLUTION.replace("2 * x", "3 * x")), ALL)


def test_an_unknown_problem_is_told(tmp_path):
    with pytest.raises(UsageError, match="the problems are double"):
        hunt(course(tmp_path), Options(jobs=1, problem="triple"))


def test_ranks_are_watched_in_their_own_processes():
    report = hunt(rank_course(), Options(jobs=1, sample=4))
    assert len(report.outcomes) == min(4, report.made)
    assert not [one for one in report.outcomes if one.fate is Fate.NOT_RUN]


def test_what_only_a_device_runs_is_played_as_on_a_device(tmp_path):
    branch = "    if x.is_cuda:\n        return x + x\n    return 2 * x"
    report = hunt(course(tmp_path, solution=SOLUTION.replace("    return 2 * x", branch)), ALL)
    assert fates(report)["return x - x"] is Fate.KILLED
    assert fates(report)["return 2 / x"] is Fate.KILLED


def test_a_mutant_in_the_second_file_is_loaded(tmp_path):
    loaded = course(tmp_path, solution="from kernels.twice import double\n")
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "twice.py").write_text(SOLUTION)
    folder = tmp_path / "reference" / "tiny"
    loaded.reference.rename(tmp_path / "moved")
    folder.parent.mkdir()
    (tmp_path / "moved").rename(folder)
    report = hunt(
        load_assignment_with_reference(loaded.folder, folder, device="cpu", seed="s"), ALL
    )
    assert {one.file for one in report.outcomes} == {"kernels/twice.py"}
    assert {one.fate for one in report.outcomes} == {Fate.KILLED}


def test_a_mutant_with_an_entry_plays_few_cases_unless_a_problem_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(hunting, "ENTRY_CASES", 0)
    name = "solution.py: double: arithmetic: return 2 * x -> return x"
    loaded = course(tmp_path, equivalent=f'[[mutant]]\nname = "{name}"\nwhy = "Not so."\n')
    assert fates(hunt(loaded, ALL))["return x"] is Fate.EQUIVALENT
    (said,) = hunt(loaded, Options(jobs=1, problem="double")).complaints
    assert "it is not equivalent, double.values" in said
