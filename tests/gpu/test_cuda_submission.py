"""A submission in CUDA C++ on a device: launched on torch's stream, compared like any other."""

import contextlib

import pytest

from grader.assignment.folders import find_assignment, find_reference
from grader.assignment.loaded import load_assignment_with_reference
from grader.author import Draw, load_cases
from grader.correctness.drive import drive
from grader.cuda_cpp.builder import Builder
from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.judgement import Cause
from grader.sandbox.contract import Isolation
from grader.student.verdict import judge_case
from grader.worker.cuda.session import open_device_session
from tests.gpu.conftest import LIMITS, ROOT

pytestmark = pytest.mark.gpu  # and the compiler: a machine that has one device and no nvcc is red

REFERENCE = find_reference("gpu_kernels", None)
CASES = load_cases(REFERENCE)
COURSE = load_assignment_with_reference(
    find_assignment("gpu_kernels", None), REFERENCE, device="cuda:*", seed="a"
)


@pytest.fixture(scope="module")
def right():
    text = (ROOT / "reference/gpu_kernels/right/one_thread_each.cu").read_text(encoding="utf-8")
    submission = Submission(
        name="ada",
        sha256="",
        origin=Origin.CUDA,
        entry="work",
        files=(SourceFile(name="work.cu", text=text),),
    )
    builder = Builder(COURSE, sandbox="none", isolation=Isolation.WARM, image="", first_slot=8)
    with contextlib.closing(builder):
        built = builder.build(submission)
    assert built.faults == ()
    return built.submission


@pytest.mark.parametrize("problem", COURSE.plan.problems, ids=lambda problem: problem.name)
def test_the_right_submission_is_right_on_a_device(right, sandboxes, driver, problem):
    failed = {}
    with (
        sandboxes.borrow() as sandbox,
        open_device_session(sandbox, right, limits=LIMITS, driver=driver) as session,
    ):
        session.load()
        for check in problem.checks:
            maker = CASES[problem.name, check.name]
            for index in range(maker.hidden):
                draw = Draw("secret", ("gpu_kernels", problem.name, check.name), index)
                seen = drive(maker(draw), session, check=check.name, index=index, public=False)
                verdict = judge_case(seen, check.tolerance)
                if verdict.cause is not Cause.NONE:
                    failed[check.name, index] = verdict.cause
                session.end_case()
    assert failed == {}
