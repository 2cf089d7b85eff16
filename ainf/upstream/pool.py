"""Connections that are kept for the next call.

Taking one and giving it back cost the same, however many there are.
"""

from collections import deque

import trio

from ainf.upstream.connection import Connection
from ainf.upstream.limits import UpstreamLimits
from ainf.upstream.origin import Origin


class Lane:
    """The connections to one origin: places for those in use, a stack of those that wait.

    A new connection is made only by the holder of a place and only when none waits, so that both together never are
    more than there are places. The one used last is taken first; those not used for ``idle_s`` are closed by the
    next call that takes or gives one, and by ``close_old``, for there may be no next call.

    Attributes:
        places: taken before a connection is used, released behind it.
    """

    __slots__ = ("_closed", "_idle", "_idle_s", "origin", "places")

    def __init__(self, origin: Origin, limits: UpstreamLimits) -> None:
        self.origin = origin
        self.places = trio.Semaphore(limits.connections_per_origin, max_value=limits.connections_per_origin)
        self._idle: deque[Connection] = deque()
        self._idle_s = limits.idle_s
        self._closed = False

    @property
    def idle(self) -> int:
        """How many connections wait."""
        return len(self._idle)

    def pop(self, now: float) -> Connection | None:
        """Return a connection that is still good, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since + self._idle_s > now and connection.is_quiet:
                return connection
            connection.close()
        return None

    def push(self, connection: Connection, now: float) -> None:
        """Keep a connection whose answer was read to its end."""
        if self._closed:
            connection.close()
            return
        connection.idle_since = now
        self._idle.append(connection)
        self.close_old(now)

    def close_old(self, now: float) -> None:
        """Close those that were not used for ``idle_s``."""
        while self._idle and self._idle[0].idle_since + self._idle_s <= now:
            self._idle.popleft().close()

    def close(self) -> None:
        """Close all that wait, now and later."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()


class Pool:
    """The lanes of all origins that one client talks to."""

    __slots__ = ("_closed", "_lanes", "_limits")

    def __init__(self, limits: UpstreamLimits) -> None:
        self._limits = limits
        self._lanes: dict[Origin, Lane] = {}
        self._closed = False

    def lane(self, origin: Origin) -> Lane:
        """Return the origin's lane; origins come from configuration, so there are few."""
        lane = self._lanes.get(origin)
        if lane is None:
            lane = self._lanes[origin] = Lane(origin, self._limits)
            if self._closed:
                lane.close()
        return lane

    def close_old(self, now: float) -> None:
        """Close the connections, of all origins, that were not used for ``idle_s``."""
        for lane in self._lanes.values():
            lane.close_old(now)

    def close(self) -> None:
        """Close every connection that waits; those in use are closed when they come back."""
        self._closed = True
        for lane in self._lanes.values():
            lane.close()
