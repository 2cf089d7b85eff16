"""Reading sockets without riddling the heap."""

import socket
import threading
from typing import Final

RECEIVED_AT_MOST: Final = 65536
"""Bytes that one read gives."""


class _Inbox(threading.local):
    """What a thread's sockets are read into, one after the other."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(RECEIVED_AT_MOST))


_INBOX: Final = _Inbox()


def receive(sock: socket.socket, max_bytes: int = RECEIVED_AT_MOST) -> bytes:
    """Return what has come to a socket that does not block, ``b""`` once its peer has closed its side.

    ``socket.recv`` takes memory for all that it may read, and gives back what it did not need: with many sockets that
    leaves holes between what stays, and the gateway grew by a MiB a minute or two of which nothing was in use.

    Args:
        sock: which.
        max_bytes: no more than this, and ``RECEIVED_AT_MOST``.

    Raises:
        BlockingIOError: nothing has come.
        OSError: the connection is broken.
    """
    view = _INBOX.view
    return bytes(view[: sock.recv_into(view, min(max_bytes, RECEIVED_AT_MOST))])
