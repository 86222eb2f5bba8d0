"""A session without a worker: its replies and costs can be set."""

import itertools

from grader.evidence.faults import Raised
from grader.sandbox.meter import Usage


class FakeSession:
    """Keeps what it was asked; a call costs 1000 ns and five bytes unless told otherwise."""

    traffic_bytes_per_call = 5

    def __init__(self, reply=lambda step: None, *, costs_ns=None, name="", log=None, metered=True):
        self._reply = reply
        self._costs_ns = costs_ns or itertools.repeat(1000)
        self._name = name
        self.log = [] if log is None else log
        self.calls = 0
        self.wall_ns = 0
        self.load_ns = 0
        self.peak_bytes = 0
        self.metered = metered
        self.alive = True
        self.load_error: Exception | None = None

    @property
    def charged_ns(self):
        return self.wall_ns

    def load(self, harness=()):
        self.log.append((self._name, "load"))
        if self.load_error is not None:
            raise self.load_error

    def new(self, ref, step):
        self._cost(step)

    def call(self, step):
        self._cost(step)
        reply = self._reply(step)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def drop(self, ref):
        pass

    def overwrite_arguments(self):
        pass

    def reclaim_arguments(self):
        self.log.append((self._name, "reclaim"))

    def end_case(self):
        self.log.append((self._name, "end"))

    def release(self):
        pass

    def claims(self):
        return ()

    def device_states(self):
        return ()

    def rank_peaks(self):
        return ()

    def usage(self):
        return Usage(
            cpu_ns=2 * self.wall_ns,
            peak_bytes=self.peak_bytes,
            traffic_bytes=self.traffic_bytes_per_call * self.calls,
            ran_ns=self.wall_ns,
            queued_ns=7 * self.calls,
        )

    def _cost(self, step):
        self.log.append((self._name, step))
        self.calls += 1
        self.wall_ns += next(self._costs_ns)
        self.peak_bytes += 100


def raised(name="ValueError"):
    """Return what a session raises when the submission raised."""
    return Raised((name, "Exception"), "of its own", "submission.py, line 1")
