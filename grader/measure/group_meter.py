"""What worlds of ranks have used, one after the other: starts left out, memory by rank.

Takes: readings of the ranks of a world. Gives: `GroupMeter`. Does not cover: reading them (see
`sandbox.meter`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grader.sandbox.meter import Usage

NOTHING = Usage(cpu_ns=0, peak_bytes=0, wire_bytes=0)


@dataclass(slots=True)
class GroupMeter:
    """Adds worlds up.

    Attributes:
        peaks: most memory that each rank of the last world held, bytes.
    """

    peaks: tuple[int, ...] = ()
    _ended: Usage = NOTHING
    _start: Usage = NOTHING

    def begin(self, readings: Sequence[Usage]) -> None:
        """Start to count a world: its ranks have joined, and the submission is imported."""
        self._start = _together(readings)

    def read(self, readings: Sequence[Usage]) -> Usage:
        """Return what all worlds so far have used, given the readings of the one that is there.

        Processor time is that of all ranks; memory that of the rank that held most, since its fork.
        """
        if not readings:
            return self._ended
        now = _together(readings)
        self.peaks = tuple(one.peak_bytes for one in readings)
        return Usage(
            cpu_ns=self._ended.cpu_ns + now.cpu_ns - self._start.cpu_ns,
            peak_bytes=max(self._ended.peak_bytes, now.peak_bytes),
            wire_bytes=self._ended.wire_bytes + now.wire_bytes - self._start.wire_bytes,
        )

    def end(self, readings: Sequence[Usage]) -> None:
        """Stop to count the world that is there."""
        self._ended = self.read(readings)
        self._start = NOTHING


def _together(readings: Sequence[Usage]) -> Usage:
    """Return the readings of a world: each of its ranks sees the bytes of their one network."""
    return Usage(
        cpu_ns=sum(one.cpu_ns for one in readings),
        peak_bytes=max(one.peak_bytes for one in readings),
        wire_bytes=readings[0].wire_bytes,
    )
