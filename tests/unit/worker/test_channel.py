"""One request, one reply: a child that is late, silent, early, loud or broken."""

import json
import os
import socket
import struct
import subprocess
import time

import pytest

from grader.errors import CallTimeout, ChannelClosed, ChannelError
from grader.runner import protocol
from tests.unit.worker.peer import LIMIT_S


def answer(peer):
    while True:
        request = peer.capture()
        protocol.send(peer.sock, {"seq": request["seq"], "value": request.get("op")})


def reply_with(text):
    """Answer the first request with a body that may hold its sequence number."""

    def act(peer):
        sequence = peer.capture()["seq"]
        peer.say(text.replace("SEQ", json.dumps(sequence)).encode())

    return act


def test_replies_belong_to_requests_and_are_timed(peer):
    peer.play(answer)
    for number in range(3):
        assert peer.ask(op=number) == {"value": number}
    assert 0 < peer.channel.wall_ns < LIMIT_S * 1e9


def test_the_clock_covers_start_and_the_wait(peer):
    def late(peer):
        sequence = peer.capture()["seq"]
        time.sleep(0.05)
        protocol.send(peer.sock, {"seq": sequence})

    peer.play(late)
    peer.channel.ask({}, fds=(), limit_s=LIMIT_S, start=lambda: time.sleep(0.05))
    assert peer.channel.wall_ns >= 50_000_000


def test_a_descriptor_is_sent_with_the_request(peer):
    got = []

    def take(peer):
        request, fds = protocol.receive(peer.sock, max_fds=1)
        got.append(os.read(fds[0], 5))
        os.close(fds[0])
        protocol.send(peer.sock, {"seq": request["seq"]})

    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"hello")
    peer.play(take)
    peer.channel.ask({}, fds=(read_fd,), limit_s=LIMIT_S, start=lambda: None)
    os.close(read_fd)
    os.close(write_fd)
    assert got == [b"hello"]


def test_silence_times_out_and_is_charged(peer):
    begin = time.perf_counter()
    with pytest.raises(CallTimeout):
        peer.ask(limit_s=0.05)
    assert 0.05 <= time.perf_counter() - begin < 2
    assert peer.channel.wall_ns >= 50_000_000


def test_a_slow_drip_does_not_buy_time(peer):
    def drip(peer):
        sequence = peer.capture()["seq"]
        for byte in struct.pack(">I", 1000) + json.dumps({"seq": sequence}).encode():
            peer.sock.send(bytes([byte]))
            time.sleep(0.01)

    peer.play(drip)
    begin = time.perf_counter()
    with pytest.raises(CallTimeout):
        peer.ask(limit_s=0.1)
    assert time.perf_counter() - begin < 2


def test_a_reply_in_pieces_is_whole(peer):
    def pieces(peer):
        body = json.dumps({"seq": peer.capture()["seq"], "value": "x" * 300_000}).encode()
        frame = struct.pack(">I", len(body)) + body
        for place in range(0, len(frame), 50_001):
            peer.sock.sendall(frame[place : place + 50_001])

    peer.play(pieces)
    assert len(peer.ask()["value"]) == 300_000


def test_a_peer_that_hangs_up(peer):
    peer.sock.close()
    with pytest.raises(ChannelClosed):
        peer.ask()


def test_a_peer_that_hangs_up_instead_of_answering(peer):
    def leave(peer):
        peer.capture()
        peer.sock.shutdown(socket.SHUT_RDWR)

    peer.play(leave)
    with pytest.raises(ChannelClosed):
        peer.ask()


def test_a_peer_that_hangs_up_in_the_middle(peer):
    def leave(peer):
        peer.capture()
        peer.sock.sendall(struct.pack(">I", 100) + b"{")
        peer.sock.shutdown(socket.SHUT_RDWR)

    peer.play(leave)
    with pytest.raises(ChannelError):
        peer.ask()


def test_an_exit_ends_the_wait_though_the_socket_stays_open(peer):
    def end(peer):
        peer.capture()
        os.write(peer.exit_write, b"x")  # a pidfd becomes readable when its process ends

    peer.play(end)
    begin = time.perf_counter()
    with pytest.raises(ChannelClosed):
        peer.ask()
    assert time.perf_counter() - begin < 2


def test_a_reply_just_before_the_exit_counts(peer):
    def end(peer):
        protocol.send(peer.sock, {"seq": peer.capture()["seq"], "value": 1})
        os.write(peer.exit_write, b"x")

    peer.play(end)
    assert peer.ask() == {"value": 1}


@pytest.mark.parametrize("size", [1, 3, 4, 200])
def test_an_early_message_is_refused(peer, size):
    body = json.dumps({"seq": "guessed", "value": 1}).encode()
    peer.sock.sendall((struct.pack(">I", len(body)) + body + b"x" * 200)[:size])
    with pytest.raises(ChannelError, match="without a request"):
        peer.ask()


def test_a_second_reply_spoils_the_next_request(peer):
    def twice(peer):
        sequence = peer.capture()["seq"]
        for _ in range(2):
            protocol.send(peer.sock, {"seq": sequence, "value": 1})

    peer.play(twice)
    assert peer.ask() == {"value": 1}
    peer.threads[0].join()
    with pytest.raises(ChannelError, match="without a request"):
        peer.ask()


@pytest.mark.parametrize(
    "body",
    [
        '{"seq": "0000000000000000"}',
        '{"seq": null}',
        '{"seq": [SEQ]}',
        "{}",
        "[]",
        "null",
        "3",
        "",
        "garbage",
        '{"seq": SEQ',
        '{"seq": SEQ}{}',
        '{"a": ' + "[" * 100_000,
        '{"seq": SEQ, "value": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"seq": SEQ, "value": ' + "9" * 5000 + "}",
    ],
    ids=lambda body: body[:30],
)
def test_what_is_no_reply_is_refused(peer, body):
    peer.play(reply_with(body))
    with pytest.raises(ChannelError) as caught:
        peer.ask()
    assert not isinstance(caught.value, CallTimeout)


def test_bytes_that_are_no_text_are_refused(peer):
    def act(peer):
        peer.capture()
        peer.say(b"\xff\xfe\x00{")

    peer.play(act)
    with pytest.raises(ChannelError, match="not JSON"):
        peer.ask()


@pytest.mark.parametrize("length", [protocol.MAX_MESSAGE_BYTES + 1, 2**32 - 1])
def test_an_announced_length_over_the_limit_is_refused_at_once(peer, length):
    def act(peer):
        peer.capture()
        peer.sock.sendall(struct.pack(">I", length))

    peer.play(act)
    with pytest.raises(ChannelError, match="more than"):
        peer.ask()


def test_output_is_capped_and_the_rest_counted(peer):
    os.write(peer.write_fd, b"a" * 600)
    assert peer.channel.take_output() == "a" * 600
    assert peer.channel.take_output() == ""
    os.write(peer.write_fd, b"b" * 600)
    assert peer.channel.take_output() == "b" * 400 + "\n[200 bytes dropped]\n"
    os.write(peer.write_fd, b"c" * 5)
    assert peer.channel.take_output() == "\n[5 bytes dropped]\n"
    assert peer.channel.take_output() == ""


def test_output_that_is_no_text_is_shown_anyway(peer):
    os.write(peer.write_fd, b"ok \xff\n")
    assert peer.channel.take_output() == "ok \ufffd\n"


def test_a_loud_child_is_not_blocked_by_a_full_pipe(peer):
    def shout(peer):
        sequence = peer.capture()["seq"]
        for _ in range(100):
            os.write(peer.write_fd, b"x" * 10_000)
        protocol.send(peer.sock, {"seq": sequence, "value": 1})

    peer.play(shout)
    assert peer.ask() == {"value": 1}
    assert peer.channel.take_output() == "x" * 1000 + "\n[999000 bytes dropped]\n"


def test_an_endless_flood_of_output_does_not_buy_time(peer):
    flood = subprocess.Popen(["yes"], stdout=peer.write_fd)
    try:
        begin = time.perf_counter()
        with pytest.raises(CallTimeout):
            peer.ask(limit_s=0.1)
        assert time.perf_counter() - begin < 5
    finally:
        flood.kill()
        flood.wait()
    assert peer.channel.take_output().startswith("y\ny\n")


def test_a_child_that_closes_its_output_can_still_answer(peer):
    def act(peer):
        sequence = peer.capture()["seq"]
        os.close(peer.write_fd)
        time.sleep(0.02)
        protocol.send(peer.sock, {"seq": sequence, "value": 1})

    peer.play(act)
    assert peer.ask() == {"value": 1}
    assert peer.channel.take_output() == ""
    peer.write_fd = -1
