"""Ranks: meters added up over worlds, too little traffic, faults and peer failures."""

import pytest

from grader.assignment.target import Quantity
from grader.evidence.faults import explain_misuse, is_peer_failure
from grader.performance.decide.plausibility import broken_bounds
from grader.sandbox.meter import Usage
from grader.worker.ranks.rank import RanksMeter
from tests.unit.performance.synthetic import counted, planned


def usage(cpu_ns, peak_bytes, traffic_bytes):
    return Usage(cpu_ns=cpu_ns, peak_bytes=peak_bytes, traffic_bytes=traffic_bytes)


def test_worlds_add_up_without_their_starts():
    meter = RanksMeter()
    meter.begin([usage(100, 5, 1000), usage(200, 7, 1000)])
    assert meter.read([usage(110, 6, 1500), usage(220, 9, 1500)]) == usage(30, 9, 500)
    assert list(meter.peaks) == [6, 9]
    meter.end([usage(110, 6, 1500), usage(220, 9, 1500)])
    assert meter.read([]) == usage(30, 9, 500)
    meter.begin([usage(1, 2, 3)])
    assert meter.read([usage(2, 4, 13)]) == usage(31, 9, 510)
    assert list(meter.peaks) == [4]


@pytest.mark.parametrize(
    ("ratio", "silent"), [(0.5, True), (0.94, True), (0.96, False), (1, False)]
)
def test_too_little_network_traffic_breaks_a_bound(ratio, silent):
    measured = counted(traffic_ratio=ratio)
    assert planned(Quantity.TRAFFIC).quantity is Quantity.TRAFFIC
    found = broken_bounds(measured)
    assert bool(found) is silent
    assert all("too little network traffic" in text for text in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trying to initialize the default process group twice!", "have joined"),
        ("Default process group has not been initialized, please make sure", "is gone"),
        ("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]", "left"),
    ],
)
def test_misuse_of_a_process_group_is_explained(text, expected):
    names = ("ValueError", "Exception") if "gloo" not in text else ("RuntimeError", "Exception")
    assert expected in explain_misuse(names, text)


def test_only_a_lost_connection_is_a_peer_failure():
    gone = "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:3"
    assert is_peer_failure(("RuntimeError",), gone)
    assert not is_peer_failure(("RuntimeError",), "process group twice")
    assert explain_misuse(("KeyError",), gone) == ""
    assert explain_misuse(("ValueError",), "Connection closed by peer") == ""
