from dataclasses import replace

from grader.advice.kernel_advice import NO_ADVICE, Advice
from grader.report.advice_view import view_advice
from grader.report.pages import render_report_html, render_report_markdown
from grader.report.student_view import make_view
from tests.unit.report import samples

TITLE = "Advice about your kernels: not graded"


def test_rows_say_what_is_known_and_nothing_else() -> None:
    failing, compiling, unreached = view_advice(samples.make_advice()).rows
    assert (failing.target, failing.outcome) == ("sm_80, sm_90", "does not compile")
    assert failing.message_location == "cell 4, line 5"
    assert failing.numbers == ("",) * 5
    assert compiling.numbers == ("96", "8", "49152", "8", "25 %")
    assert unreached.target == ""
    assert "no public case" in unreached.outcome


def test_a_block_that_does_not_fit_has_a_text() -> None:
    advice = samples.make_advice()
    compiling = advice.kernels[2]
    too_large = replace(compiling.resources[0], occupancy=0.0)
    kernels = (replace(compiling, resources=(too_large,)),)
    (row,) = view_advice(replace(advice, kernels=kernels)).rows
    assert row.numbers[-1] == "a block does not fit"


def test_both_reports_have_a_section_of_their_own() -> None:
    view = make_view(replace(samples.make_record(), advice=samples.make_advice()))
    for page in (render_report_html(view), render_report_markdown(view)):
        for text in (TITLE, "unsupported AST node type: Try", "cell 4, line 5", "not graded"):
            assert text in page
        assert "CallTimeout" not in page


def test_without_kernels_there_is_no_section() -> None:
    view = make_view(replace(samples.make_record(), advice=NO_ADVICE))
    assert TITLE not in render_report_html(view) + render_report_markdown(view)


def test_a_notice_alone_is_shown() -> None:
    advice = Advice(kernels=(), notice="The advice could not be made this time.", detail="x")
    assert advice.notice in render_report_html(
        make_view(replace(samples.make_record(), advice=advice))
    )


def test_hostile_messages_stay_text() -> None:
    failing = samples.make_advice().kernels[0]
    evil = replace(failing, message="| x |\n<script>alert(1)</script>\x1b[31m\u202e")
    advice = Advice(kernels=(evil,), notice="", detail="")
    view = make_view(replace(samples.make_record(), advice=advice))
    page, text = render_report_html(view), render_report_markdown(view)
    assert "<script" not in page + text
    assert "\x1b" not in page + text
    (row,) = [line for line in text.splitlines() if "alert" in line]
    assert row.replace("\\|", "").count("|") == 10
