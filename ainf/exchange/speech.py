"""What is said to one client: the head, the frames, the heartbeats between them, the end. One speaker at a time."""

import trio

from ainf.exchange.plan import Downstream, Headers
from ainf.sse import HEARTBEAT


class Speech:
    """The client's side of one exchange.

    The pump writes; the clock watcher may start the head early and beat between frames. A beat is skipped while the
    pump is writing, and the pump waits for a beat under way, so that no heartbeat can stand inside a frame.
    """

    def __init__(self, downstream: Downstream) -> None:
        self._downstream = downstream
        self._beating: trio.Event | None = None
        self._writing = False
        self.head: tuple[int, Headers] | None = None
        """The head that was given."""
        self.finished = False
        self.last_said = trio.current_time()
        self.held_up_s = 0.0
        """How long the client has made the pump wait, in all."""

    @property
    def started(self) -> bool:
        """Whether the head was given."""
        return self.head is not None

    @property
    def is_writing(self) -> bool:
        """Whether the pump is handing bytes over: what waits then is the client, not the provider."""
        return self._writing

    @property
    def is_busy(self) -> bool:
        """Whether anything is being said: a beat would only wait behind it."""
        return self._writing or self._beating is not None

    async def write(self, data: bytes) -> None:
        """Hand frames over whole; behind a beat that is under way."""
        self._writing = True
        since = trio.current_time()
        try:
            if self._beating is not None:
                await self._beating.wait()
            await self._downstream.write(data)
        finally:
            self._writing = False
            self.last_said = trio.current_time()
            self.held_up_s += self.last_said - since

    async def start(self, status: int, headers: Headers) -> None:
        """Give the head, unless it was given."""
        if self._beating is not None:
            await self._beating.wait()
        if not self.started:
            await self._give_head(status, headers)

    async def beat(self, head: Headers) -> None:
        """Say that we are still there, with the head before it where none was given yet."""
        if self.is_busy or self.finished:
            return
        self._beating = trio.Event()
        try:
            if not self.started:
                await self._give_head(200, head)
            await self._downstream.beat(HEARTBEAT)
        finally:
            self.last_said = trio.current_time()
            self._beating.set()
            self._beating = None

    async def _give_head(self, status: int, headers: Headers) -> None:
        self.head = (status, headers)  # before the await: whoever asks next must not start it again
        try:
            await self._downstream.start(status, headers)
        except trio.Cancelled:
            self.head = None  # it was not handed over: the end comes with a head of its own
            raise

    async def finish(self, data: bytes) -> None:
        """Give the terminal frame, once, and end the answer."""
        assert not self.finished
        self.finished = True
        await self._downstream.finish(data)

    def abort(self) -> None:
        """Close the connection without an end."""
        self.finished = True
        self._downstream.abort()

    def told(self, end: bytes) -> bytes | None:
        """Return all that was said with this end, where it is kept. See ``Downstream.told``."""
        return self._downstream.told(end)
