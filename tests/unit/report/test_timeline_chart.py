"""A timeline has a lane per rank, and says in words what it shows."""

from dataclasses import replace

import pytest

from grader.evidence.timeline import Collective, RankTimeline, Span
from grader.report.timeline_chart import MOST_ROWS, describe_rank, draw_timeline

MS = 1_000_000


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


def test_ranks_stand_below_each_other_on_one_axis():
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


def test_what_blocks_is_told_from_what_is_on_its_way():
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


def test_words_say_how_much_was_hidden():
    assert describe_rank(OVERLAPPED, 0) == (
        "Rank 0: 2 of 3 collectives, 2.0 MiB of 3.0 MiB, were launched before its backward pass "
        "had ended; the last was complete 30 ms after it."
    )
    assert describe_rank(replace(OVERLAPPED, collectives=()), 1) == "Rank 1 launched nothing."
    without = replace(OVERLAPPED, backward=())
    assert describe_rank(without, 2) == "Rank 2: 3 collectives, 3.0 MiB."


def test_words_of_what_ended_in_time():
    early = replace(OVERLAPPED, collectives=(collective(20, 21, 60),))
    assert describe_rank(early, 0).endswith("the last was complete before it ended.")


def test_words_of_what_found_no_room():
    full = replace(OVERLAPPED, left_out=7)
    assert describe_rank(full, 0).endswith("after it. 7 more entries found no room.")
