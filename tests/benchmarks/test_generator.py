"""The generator against a server of a few lines on loopback."""

import socket
import threading
from contextlib import contextmanager, suppress

import pytest

from benchmarks.dialects import CHAT, NUMBER
from benchmarks.generator import Load, LoadError

REQUEST = b"POST /x HTTP/1.1\r\ncontent-length: 8\r\n\r\n" + NUMBER
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\nno"
FRAME = b"9\r\ndata: 1\n\n\r\n"
BEGUN = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + FRAME
HANG_UP = b""


class Server:
    """Gives its answers in order, over all connections, then the last one again; counts what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0
        self.requests = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.lock = threading.Lock()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,)).start()

    def serve(self, connection):
        with connection, suppress(ConnectionError):  # the client may leave at any time
            while len(request := self.request(connection)) == len(REQUEST):
                with self.lock:
                    self.asked += 1
                    self.requests.append(request)
                    answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer == HANG_UP:
                    return
                connection.sendall(answer)

    def request(self, connection):
        data = b""
        while len(data) < len(REQUEST) and (more := connection.recv(len(REQUEST) - len(data))):
            data += more
        return data


@contextmanager
def serving(*answers, connections=4, are_alike=False):
    server = Server(*answers)
    thread = threading.Thread(target=server.accept)
    thread.start()
    load = Load(server.address, REQUEST, connections, CHAT.end, are_alike=are_alike)
    try:
        yield server, load
    finally:
        load.close()
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        thread.join()


def test_it_asks_as_often_as_told_and_keeps_its_connections():
    """Forty requests over four connections are forty answers, and connections are kept between runs."""
    with serving(GOOD) as (server, load):
        tally = load.run(40)
        load.run(5)
    assert (server.asked, server.connections) == (45, 4)
    assert (tally.answers, tally.failures, tally.size) == (40, 0, 40 * len(GOOD))
    assert len(tally.first_byte_s) == len(tally.whole_s) == 40
    assert all(
        0 < first <= whole <= tally.wall_s for first, whole in zip(tally.first_byte_s, tally.whole_s, strict=True)
    )


def test_no_two_requests_are_alike():
    """Each request has a number of its own in its prompt, also from run to run; the rest is as it was given."""
    with serving(GOOD) as (server, load):
        load.run(20)
        load.run(20)
    numbers = {request.removeprefix(REQUEST.removesuffix(NUMBER)) for request in server.requests}
    assert numbers == {b"%08d" % number for number in range(1, 41)}


def test_all_requests_may_be_alike():
    """Where that is wanted, each request is what was given, byte by byte."""
    with serving(GOOD, are_alike=True) as (server, load):
        load.run(5)
    assert server.requests == [REQUEST] * 5


def test_a_refusal_is_a_failure_with_its_words():
    """An answer other than 200 is counted as a failure and the first one is shown."""
    with serving(GOOD, BAD, GOOD, connections=1) as (_, load):
        tally = load.run(3)
    assert (tally.answers, tally.failures) == (3, 1)
    assert "503" in tally.first_failure


def test_a_cut_answer_is_a_failure_and_the_next_gets_a_new_connection():
    """A connection that breaks ends its answer as a failure, and the run goes on."""
    with serving(GOOD, HANG_UP, GOOD, connections=1) as (server, load):
        tally = load.run(3)
    assert (tally.answers, tally.failures, server.connections) == (3, 1, 2)


def test_a_request_is_not_sent_before_it_is_due():
    """With arrivals, the run lasts at least until the last of them."""
    with serving(GOOD) as (_, load):
        tally = load.run(3, arrivals=[0.0, 0.01, 0.05])
    assert tally.answers == 3
    assert tally.wall_s >= 0.05


def test_time_in_the_queue_counts():
    """A request that found no idle connection is measured from when it was due, not from when it was sent."""
    with serving(GOOD, connections=1) as (_, load):
        tally = load.run(20, arrivals=[0.0] * 20)
    assert tally.whole_s == sorted(tally.whole_s)
    assert tally.whole_s[-1] > 0.9 * tally.wall_s


def test_streams_are_held_open_once_they_have_begun():
    """Inside ``held_open`` each stream has given a frame and none has ended."""
    with serving(BEGUN) as (server, load), load.held_open(4):
        assert (server.asked, server.connections) == (4, 4)


def test_a_stream_that_ends_is_not_held_open():
    """A stream that should stay open and ends is an error, not a small number."""
    with serving(BEGUN + b"0\r\n\r\n") as (_, load), pytest.raises(LoadError, match="ended"), load.held_open(2):
        pytest.fail("entered")


def test_nobody_to_connect_to_is_an_error():
    """A refused connection is said, not counted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    load = Load(address, REQUEST, 1, CHAT.end)
    with pytest.raises(LoadError, match="cannot connect"):
        load.run(1)
    load.close()
