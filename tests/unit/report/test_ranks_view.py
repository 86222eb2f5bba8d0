"""Tables of groups: bytes against theory, and the memory of each rank."""

from dataclasses import replace

from grader.performance.decide.interval import Kind
from grader.report.ranks_view import rank_tables
from tests.unit.performance.synthetic import counted

MIB = 1 << 20


def test_bytes_stand_beside_theory_with_its_derivation() -> None:
    measured = counted(traffic_ratio=2.0)
    work = replace(measured.work[0], derivation="2 (N-1) S")
    measured = replace(measured, work=(work,), empty=replace(measured.empty, traffic_bytes=104))
    (table,) = rank_tables(Kind.TRAFFIC, measured, measured.forks)
    assert [row[0] for row in table.rows] == ["Theory", "Reference", "Yours"]
    assert table.rows[0][2] == "1.00"
    assert table.rows[2][2] == "2.00"
    assert table.note.startswith("Theory: 2 (N-1) S. Counted on the loopback")
    assert "104 bytes" in table.note
    assert table.line.startswith("Bytes on the wire per run, over all ranks: Theory ")


def test_memory_is_shown_for_each_rank_of_a_group_alone() -> None:
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
