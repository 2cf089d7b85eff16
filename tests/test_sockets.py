"""What comes of reading a socket, and what it takes."""

import socket
import threading
import tracemalloc

import pytest

from ainf.sockets import RECEIVED_AT_MOST, receive


@pytest.fixture
def pair():
    """Our end of a connection, which does not block, and the peer's."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    with ours, peer:
        yield ours, peer


def test_what_has_come_is_given_once(pair):
    """At most as much as is asked for; what is given stays what it was; the peer's end is the end."""
    ours, peer = pair
    with pytest.raises(BlockingIOError):
        receive(ours)
    peer.sendall(b"abcdef")
    first = receive(ours, 4)
    assert (first, receive(ours), first) == (b"abcd", b"ef", b"abcd")
    peer.sendall(bytes(RECEIVED_AT_MOST + 1))
    peer.close()
    rest = [receive(ours, 2 * RECEIVED_AT_MOST)]
    while rest[-1]:
        rest.append(receive(ours))
    assert max(map(len, rest)) <= RECEIVED_AT_MOST
    assert b"".join(rest) == bytes(RECEIVED_AT_MOST + 1)


def test_a_broken_connection_is_an_error(pair):
    """Also one that is closed here."""
    ours, _ = pair
    ours.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        receive(ours)


def test_it_takes_no_more_memory_than_has_come(pair):
    """The most that a read may give is not taken from the heap for the little that it gives."""
    ours, peer = pair
    peer.sendall(b"a")
    receive(ours)  # this thread has its inbox now
    peer.sendall(b"a" * 100)
    tracemalloc.start()
    try:
        receive(ours)
        assert tracemalloc.get_traced_memory()[1] < 1024
    finally:
        tracemalloc.stop()


def test_threads_do_not_read_into_each_other():
    """While one's read is not done, another one's comes between."""

    class Slow:
        """A socket whose read another thread's comes into."""

        def recv_into(self, view, _):
            view[:4] = b"mine"
            other = threading.Thread(target=receive, args=(Quick(),))
            other.start()
            other.join()
            return 4

    class Quick:
        def recv_into(self, view, _):
            view[:4] = b"hers"
            return 4

    assert receive(Slow()) == b"mine"
