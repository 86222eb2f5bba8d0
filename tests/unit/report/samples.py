"""Sample records for the tests of the reports."""

import json
from dataclasses import replace

from grader.advice.kernel_advice import Advice, KernelAdvice, KernelOutcome, KernelResources
from grader.evidence.comparison import Comparison, Mismatch
from grader.evidence.faults import Fault, FaultKind
from grader.evidence.measurement import Measurement, ProblemMeasurement
from grader.evidence.observations import CaseMeasurement, ErrorObservation, ValueObservation
from grader.intake.submission import CellLine, Origin, SourceFile
from grader.judge.judgement import (
    CaseFinding,
    Cause,
    CheckJudgement,
    Judgement,
    Status,
    Verdict,
)
from grader.record.grade_record import Environment, GradeRecord, SubmissionFacts
from grader.record.run_folder import RECORD_SCHEMA_VERSION
from tests.unit.report.sample_plan import PROBLEMS, make_plan

NOTEBOOK_SOURCE = """\
import torch


class KVCache:
    def append(self, k, v):
        # Quadratic, but right.
        self.k = torch.cat([self.k, k], dim=2)


def ragged_mask(lengths, size):
    return torch.arange(size) < lengths[:, None]


def decode_attention(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)
"""
NOTEBOOK_CELLS = (2, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 5, 5, 5, 5)


def make_finding(*, public: bool, index: int = 1) -> CaseFinding:
    """Return a finding about a wrong value."""
    return CaseFinding(
        public=public,
        index=index,
        summary="keys() is off by 3.1e-02 of the largest entry; 1e-05 is allowed",
        expected="0.48712953",
        got="0.45619812",
        where="[0, 3, 17, 5]",
    )


def make_check(
    problem: str, check: str, verdict: Verdict, cause: Cause = Cause.NONE
) -> CheckJudgement:
    """Return the judgement on one check of the sample plan."""
    title, points, evidence = PROBLEMS[problem][2][check]
    failed = verdict is Verdict.FAIL
    findings = (
        make_finding(public=True),
        make_finding(public=False, index=1),
        make_finding(public=False, index=3),
    )
    return CheckJudgement(
        problem=problem,
        check=check,
        title=title,
        verdict=verdict,
        cause=cause,
        points=points if verdict is Verdict.PASS else 0.0,
        max_points=points,
        evidence=evidence,
        summary="3 of 4 cases differ from what was expected." if failed else "",
        findings=findings if failed else (),
        cases=4,
    )


def make_judgement(
    *outcomes: tuple[Verdict, Cause], status: Status = Status.GRADED, message: str = ""
) -> Judgement:
    """Return a judgement with one outcome per check of the sample plan; none for a rejected one."""
    names = [(problem, check) for problem, (_, _, checks) in PROBLEMS.items() for check in checks]
    judged = tuple(
        make_check(problem, check, verdict, cause)
        for (problem, check), (verdict, cause) in zip(names, outcomes, strict=False)
    )
    return Judgement(
        status=status,
        score=sum(check.points for check in judged),
        max_score=30.0,
        ungraded_points=sum(c.max_points for c in judged if c.verdict is Verdict.UNGRADED),
        review_points=sum(c.max_points for c in judged if c.verdict is Verdict.NEEDS_REVIEW),
        checks=judged,
        message=message,
    )


def make_measurement(*, sandbox: str = "bwrap", output: str = "") -> Measurement:
    """Return a measurement with a case of every kind of observation."""
    case = CaseMeasurement(
        check="append",
        index=1,
        public=False,
        observations=(
            ValueObservation(
                label="keys()",
                comparison=Comparison(
                    mismatch=Mismatch.NONE,
                    error=0.031,
                    dtype="float32",
                    expected="0.5",
                    got="0.4",
                    where="[0]",
                ),
            ),
            ErrorObservation(label="append", expected="ValueError", got="", text="", matches=False),
        ),
        faults=(Fault(kind=FaultKind.EXCEPTION, message="KeyError: 3", where="line 41"),),
        calls=5,
        wall_ns=1_200_000,
    )
    problems = tuple(
        ProblemMeasurement(problem=name, cases=(case,), output=output, hidden_output="", children=1)
        for name in PROBLEMS
    )
    return Measurement(
        sandbox=sandbox,
        isolation="warm",
        layers=("user, pid, mount, net and ipc namespaces", "Landlock", "seccomp", "own uid"),
        problems=problems,
        wall_ns=2_000_000_000,
    )


def make_advice() -> Advice:
    """Return advice with a kernel of every outcome."""
    failing = KernelAdvice(
        kernel="softmax_kernel",
        location="cell 4, line 2",
        target="sm_80",
        outcome=KernelOutcome.FAILS,
        arguments="",
        message="unsupported AST node type: Try",
        message_location="cell 4, line 5",
        resources=(),
    )
    resources = KernelResources(
        registers=96, spill_bytes=8, shared_bytes=49152, warps=8, occupancy=0.25
    )
    compiling = replace(
        failing,
        kernel="decode_kernel",
        outcome=KernelOutcome.COMPILES,
        arguments="q: *fp32, BLOCK = 128",
        message="",
        message_location="",
        resources=(resources,),
    )
    unreached = replace(
        failing,
        kernel="spare_kernel",
        target="",
        outcome=KernelOutcome.NOT_REACHED,
        message="",
        message_location="",
    )
    return Advice(
        kernels=(failing, replace(failing, target="sm_90"), compiling, unreached),
        notice="Not all kernels were compiled.",
        detail="CallTimeout: no reply within the limit",
    )


ALL_PASSED = ((Verdict.PASS, Cause.NONE),) * 6
EVERY_VERDICT = (
    (Verdict.PASS, Cause.NONE),
    (Verdict.FAIL, Cause.WRONG_ERROR),
    (Verdict.FAIL, Cause.WRONG_VALUE),
    (Verdict.PASS, Cause.NONE),
    (Verdict.UNGRADED, Cause.INFRASTRUCTURE),
    (Verdict.NEEDS_REVIEW, Cause.NONE),
)


def make_files(text: str, cells: tuple[int, ...] = ()) -> tuple[SourceFile, ...]:
    """Return a submission of one file; `cells` has the notebook cell of each line."""
    locations = tuple(CellLine(cell=cell, line=1) for cell in cells)
    return (SourceFile(name="kv_cache.py", text=text, cell_lines=locations),)


def make_record(
    name: str = "ada",
    *,
    judgement: Judgement | None = None,
    measurement: Measurement | None = None,
    submission: SubmissionFacts | None = None,
) -> GradeRecord:
    """Return a record; by default of a module that passed everything."""
    facts = submission or SubmissionFacts(
        name=name,
        sha256="c" * 64,
        origin=Origin.MODULE,
        entry="kv_cache",
        files=make_files("def decode_attention(q, k, v): ...\n"),
        notices=(),
        notebook_json="",
    )
    return GradeRecord(
        schema_version=RECORD_SCHEMA_VERSION,
        record_id="5f0c",
        previous_id="",
        created_at="2026-03-02T10:20:30+00:00",
        submission=facts,
        plan=make_plan(),
        measurement=measurement or make_measurement(),
        judgement=judgement or make_judgement(*ALL_PASSED),
        environment=Environment(
            grader_version="0.1.0",
            python="3.11.9",
            torch="2.13.0",
            platform="Linux-6.18-x86_64",
            device="cpu",
            triton="3.9.0",
            driver="",
            image_id="sha256:" + "d" * 64,
        ),
    )


def make_notebook(*extra: tuple[str, str]) -> str:
    """Return a notebook in the JSON form; `extra` cells (type, source) come last."""
    source = NOTEBOOK_SOURCE.splitlines(keepends=True)
    cells = [
        ("markdown", "# My solution\n\nThe cache holds $K$ and $V$ of shape `[B, H, T, D]`."),
        ("code", "".join(source[:7])),
        ("markdown", "Now the **attention**. See [the paper](https://example.org/gqa)."),
        ("code", "".join(source[9:11])),
        ("code", "".join(source[13:15])),
        *extra,
    ]
    return json.dumps(
        {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
            "cells": [
                {
                    "cell_type": kind,
                    "id": f"c{number}",
                    "metadata": {"tags": ["export"]},
                    "source": text,
                }
                | ({"outputs": [], "execution_count": None} if kind == "code" else {})
                for number, (kind, text) in enumerate(cells)
            ],
        }
    )


def make_notebook_record(name: str = "grace", *extra: tuple[str, str]) -> GradeRecord:
    """Return a record of a notebook with every verdict in it."""
    record = make_record(
        name,
        judgement=make_judgement(*EVERY_VERDICT, status=Status.UNGRADED),
        measurement=make_measurement(output="appending 3 tokens\nappending 2 tokens\n"),
    )
    facts = replace(
        record.submission,
        origin=Origin.NOTEBOOK,
        files=make_files(NOTEBOOK_SOURCE, NOTEBOOK_CELLS),
        notices=("cell 6: dropped `plt.plot(times)`",),
        notebook_json=make_notebook(*extra),
    )
    return replace(record, submission=facts)


def make_rejected_record(name: str = "zuse") -> GradeRecord:
    """Return a record of a file that could not be read."""
    message = (
        "expected a Python module or a notebook, found 12 KiB that are not text\n"
        "Save the file as kv_cache.py in UTF-8 and hand it in again."
    )
    judgement = make_judgement(status=Status.REJECTED, message=message)
    return make_record(
        name, judgement=judgement, measurement=replace(make_measurement(), problems=())
    )


def make_class(count: int) -> list[GradeRecord]:
    """Return a class with a spread of outcomes, the same for every call."""
    causes = (Cause.WRONG_VALUE, Cause.TIMEOUT, Cause.MISSING, Cause.CRASH, Cause.OUT_OF_MEMORY)
    records: list[GradeRecord] = []
    for number in range(count):
        name = f"student_{number:03d}"
        if number % 50 == 49:
            records.append(make_rejected_record(name))
            continue
        outcomes = [
            (Verdict.FAIL, causes[(number + location) % len(causes)])
            if (number * 7 + location * 5) % 11 < number % 6
            else (Verdict.PASS, Cause.NONE)
            for location in range(6)
        ]
        status = Status.GRADED
        if number % 20 == 7:
            outcomes[5], status = (Verdict.NEEDS_REVIEW, Cause.NONE), Status.NEEDS_REVIEW
        if number % 20 == 13:
            outcomes[4:] = [(Verdict.UNGRADED, Cause.NO_DEVICE)] * 2
            status = Status.PROVISIONAL
        if number % 60 == 31:
            outcomes, status = [(Verdict.UNGRADED, Cause.INFRASTRUCTURE)] * 6, Status.UNGRADED
        records.append(make_record(name, judgement=make_judgement(*outcomes, status=status)))
    return records
