"""What a target over ranks shows: bytes against theory, memory of each rank, and a timeline."""

from dataclasses import replace

import pytest

from grader.evidence.timeline import Collective, RankTimeline, Span
from grader.performance.decide.interval import Kind
from grader.report.ranks_view import MOST_ROWS, describe_rank, draw_timeline, rank_tables
from tests.unit.performance.synthetic import counted

MS = 1_000_000
MIB = 1 << 20


def test_bytes_are_shown_beside_theory_with_its_derivation() -> None:
    measured = counted(traffic_ratio=2.0)
    work = replace(measured.work[0], derivation="2 (N-1) S")
    measured = replace(measured, work=(work,), empty=replace(measured.empty, traffic_bytes=104))
    (table,) = rank_tables(Kind.TRAFFIC, measured, measured.forks)
    assert [row[0] for row in table.rows] == ["Theory", "Reference", "Yours"]
    assert table.rows[0][2] == "1.00"
    assert table.rows[2][2] == "2.00"
    assert table.note.startswith("Theory: 2 (N-1) S. Counted on the loopback")
    assert "104 bytes" in table.note
    assert table.line.startswith("Bytes sent per run, all ranks together: Theory ")


def test_memory_is_shown_for_each_rank() -> None:
    measured = counted(ratio=1.0)
    assert rank_tables(Kind.MEMORY, measured, measured.forks) == ()
    forks = tuple(
        replace(
            fork,
            pairs=tuple(
                replace(
                    pair,
                    submission=replace(pair.submission, rank_peak_bytes=(128 * MIB, 256 * MIB)),
                    reference=replace(pair.reference, rank_peak_bytes=(128 * MIB, 128 * MIB)),
                )
                for pair in fork.pairs
            ),
        )
        for fork in measured.forks
    )
    (table,) = rank_tables(Kind.MEMORY, measured, forks)
    assert table.rows == (("Rank 0", "128 MiB", "128 MiB"), ("Rank 1", "256 MiB", "128 MiB"))
    assert rank_tables(Kind.MEMORY, measured, ()) == ()


def collective(launch: int, back: int, *end: int) -> Collective:
    return Collective(
        name="all_reduce",
        nbytes=1 << 20,
        launch_ns=launch * MS,
        return_ns=back * MS,
        end_ns=tuple(ns * MS for ns in end),
    )


OVERLAPPED = RankTimeline(
    collectives=(collective(20, 21, 60), collective(70, 71, 100), collective(101, 130, 130)),
    gradients_ns=(20 * MS, 70 * MS, 100 * MS),
    backward=(Span(begin_ns=0, end_ns=100 * MS),),
    left_out=0,
)


def test_ranks_are_below_each_other_on_one_axis():
    late = replace(OVERLAPPED, backward=(Span(begin_ns=0, end_ns=260 * MS),))
    chart = draw_timeline((OVERLAPPED, late))
    first, second = chart.lanes
    assert (first.name, second.name) == ("Rank 0", "Rank 1")
    assert second.y > max(one.y for one in first.collectives)
    assert chart.bottom > max(one.y for one in second.collectives)
    assert second.passes[0].width > 2 * first.passes[0].width
    assert first.gradients == second.gradients


@pytest.mark.parametrize("scale", [0.02, 0.1, 1.0, 10.0, 100.0])
def test_there_are_ticks_for_any_length(scale: float):
    ends = (Span(begin_ns=0, end_ns=round(130 * MS * scale)),)
    ticks = draw_timeline(
        (replace(OVERLAPPED, collectives=(), gradients_ns=(), backward=ends),)
    ).ticks
    assert 3 <= len(ticks) <= 6
    assert ticks[0].text == "0"


def test_a_call_that_blocks_looks_different_from_one_that_returned_at_once():
    launched, _, waited = draw_timeline((OVERLAPPED,)).lanes[0].collectives
    assert launched.blocked < launched.width / 10
    assert waited.blocked == waited.width
    assert waited.text == "all_reduce, 1.0 MiB, 29 ms"


def test_an_unknown_end_is_drawn_as_the_return():
    (one,) = (
        draw_timeline((replace(OVERLAPPED, collectives=(collective(5, 8),)),)).lanes[0].collectives
    )
    assert one.width == one.blocked > 0


def test_a_long_list_is_cut():
    many = replace(OVERLAPPED, collectives=(collective(1, 2, 3),) * (MOST_ROWS + 1))
    assert len(draw_timeline((many,)).lanes[0].collectives) == MOST_ROWS


def test_the_text_says_how_much_was_sent_during_the_backward_pass():
    assert describe_rank(OVERLAPPED, 0) == (
        "Rank 0: 2 of 3 collectives, 2.0 MiB of 3.0 MiB, started before its backward pass "
        "ended; the last one was complete 30 ms after that."
    )
    assert describe_rank(replace(OVERLAPPED, collectives=()), 1) == "Rank 1 called no collective."
    without = replace(OVERLAPPED, backward=())
    assert describe_rank(without, 2) == "Rank 2: 3 collectives, 3.0 MiB."


def test_the_text_of_calls_that_ended_in_time():
    early = replace(OVERLAPPED, collectives=(collective(20, 21, 60),))
    assert describe_rank(early, 0).endswith("the last one was complete before that.")


def test_the_text_of_entries_that_were_not_recorded():
    full = replace(OVERLAPPED, left_out=7)
    assert describe_rank(full, 0).endswith("after that. 7 more entries were not recorded.")
