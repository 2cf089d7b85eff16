"""From an answer to the steps that put it on the wire: framing, pace, odd bytes, and where it breaks off.

The only place where behaviour meets bytes. It knows HTTP and event streams, but no field of any wire format.
"""

import gzip
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

import attrs

from ainf.simulator.answer import Answer, Beat, BeatKind
from ainf.simulator.behaviour import Behaviour, Fault, Point, Strike, Writes
from ainf.simulator.faults import error_for
from ainf.simulator.http import LAST_CHUNK, as_chunk, response_head
from ainf.simulator.steps import Close, Reset, Send, Stall, Step, Wait, coalesced, dripped
from ainf.simulator.wire import Voice, Wire

_COMMENT: Final = b": keep-alive\n\n"
_PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
_NOT_UTF8: Final = b"\xff\xc3(\xfe"
_TOO_LONG_BY: Final = 1000
_ENDLESS_PIECE: Final = b"x" * 4096
_ENDS: Final[Mapping[Fault, Step]] = MappingProxyType({
    Fault.RESET: Reset(),
    Fault.CLOSE: Close(),
    Fault.STALL: Stall(),
    Fault.EOF: Send(LAST_CHUNK),
})
_ERRORS: Final = frozenset({Fault.ERROR, Fault.ERROR_STRING, Fault.ERROR_EVENT})

_Dressing: TypeAlias = Callable[[bytes, Beat], bytes]


@attrs.frozen
class Planner:
    """Makes the steps of one answer.

    Attributes:
        headers: what every answer carries (the request id).
    """

    wire: Wire
    answer: Answer
    behaviour: Behaviour
    headers: Mapping[str, str]

    def steps(self, *, stream: bool) -> Iterable[Step]:
        """Return the steps, lazily; ``stream`` is what the client asked for, which a behaviour may turn around."""
        streams = self.behaviour.sse_for_json or (stream and not self.behaviour.json_for_sse)
        return as_written(self._stream() if streams else self._document(), self.behaviour)

    # --- an event stream ---

    def _stream(self) -> Iterator[Step]:
        strike = self.behaviour.strike
        if strike and strike.point is Point.BEFORE_HEAD:
            yield from self._break_off(strike, b"")
            return
        yield self._stream_head()
        if strike and strike.point is Point.AFTER_HEAD:
            yield from self._break_off(strike, b"")
            return
        yield from self._frames(strike)

    def _frames(self, strike: Strike | None) -> Iterator[Step]:
        dress = _dresser(self.behaviour)
        voice = self.wire.voice(self.answer)
        produced = unshown = 0
        for beat in self.answer.beats:
            if strike and _strikes_at(strike, beat, produced):
                yield from self._strike(strike, voice, beat)
                return
            frame = voice.frame(beat)
            if beat.tokens and self.behaviour.pace_s:
                yield Wait(self.behaviour.pace_s * beat.tokens)
            unshown += beat.text_bytes
            yield self._send(dress(frame, beat), beat, unshown)
            unshown = 0 if frame else unshown
            if self.behaviour.broken_frames and not produced and beat.tokens:
                yield from [Send(self._framed(self.wire.broken_frame))] * self.behaviour.broken_frames
            produced += beat.tokens
        if strike:
            yield from self._strike(strike, voice, None)
            return
        yield Close() if self.behaviour.short_body else Send(LAST_CHUNK)

    def _send(self, data: bytes, beat: Beat, text_bytes: int) -> Send:
        return Send(
            self._framed(data) if data else b"",
            tokens=beat.tokens,
            text_bytes=text_bytes if data else 0,
            finish=beat.kind is BeatKind.FINISH,
            usage=beat.counts is not None and beat.kind in {BeatKind.FINISH, BeatKind.USAGE},
        )

    def _framed(self, data: bytes) -> bytes:
        return data if self.behaviour.short_body else as_chunk(data)

    def _stream_head(self) -> Send:
        framing = ("content-length", "100000000") if self.behaviour.short_body else ("transfer-encoding", "chunked")
        return self._head("text/event-stream; charset=utf-8", framing)

    def _head(self, content_type: str, framing: tuple[str, str]) -> Send:
        said_type = content_type if self.behaviour.content_type is None else self.behaviour.content_type
        fields = [("content-type", said_type)] if said_type else []
        fields += [framing, *self.headers.items(), ("cache-control", "no-cache")]
        if self.behaviour.gzip:
            fields.append(("content-encoding", "gzip"))
        return Send(response_head(200, fields), status=200)

    def _strike(self, strike: Strike, voice: Voice, beat: Beat | None) -> Iterator[Step]:
        """Yield the steps of a fault in a stream, in place of the beat."""
        if strike.fault not in _ERRORS:
            yield from self._break_off(strike, voice.frame(beat) if beat else b"")
            return
        string, event = strike.fault is Fault.ERROR_STRING, strike.fault is Fault.ERROR_EVENT
        shown = voice.error_frame(error_for(503), as_string=string, as_event=event)
        yield Send(as_chunk(shown + self.wire.done_frame) + LAST_CHUNK)

    def _break_off(self, strike: Strike, frame: bytes) -> Iterator[Step]:
        """Yield the steps of a fault; ``frame`` would have come next (a token that is not shown has none)."""
        frame = frame or _COMMENT
        half = _half(frame)
        match strike.fault:
            case Fault.RESET | Fault.CLOSE | Fault.STALL | Fault.EOF as fault:
                yield _ENDS[fault]
            case Fault.CUT_CHUNK:
                yield Send(as_chunk(frame)[: len(half) + 5])
                yield Close()
            case Fault.CUT_JSON:
                yield Send(as_chunk(half) + LAST_CHUNK)
            case Fault.STALL_MID:
                yield Send(as_chunk(half))
                yield Stall()
            case Fault.ERROR | Fault.ERROR_STRING | Fault.ERROR_EVENT:
                raise AssertionError("an error is told, by the voice or as a document")
            case Fault.ENDLESS_COMMENTS:
                yield from self._forever(_COMMENT)
            case Fault.ENDLESS_LINE:
                yield Send(as_chunk(half))
                yield from self._forever(_ENDLESS_PIECE)

    def _forever(self, data: bytes) -> Iterator[Step]:
        piece = Send(as_chunk(data))
        while True:
            if self.behaviour.pace_s:
                yield Wait(self.behaviour.pace_s)
            yield piece

    # --- a JSON document ---

    def _document(self) -> Iterator[Step]:
        strike = self.behaviour.strike
        if strike and strike.point is Point.BEFORE_HEAD:
            yield from self._break_off(strike, b"")
            return
        yield from self._produced()
        body = self.wire.document(self.answer)
        if strike and strike.fault in _ERRORS:
            yield self._whole(self.wire.failed_document(self.answer, error_for(503)))
        elif strike and strike.point in {Point.AFTER_HEAD, Point.AFTER_TOKENS}:
            yield self._head("application/json", ("transfer-encoding", "chunked"))
            if strike.point is Point.AFTER_TOKENS and strike.fault in _ENDS:
                yield Send(as_chunk(body[: len(body) // 2]))
            yield from self._break_off(strike, body)
        else:
            told = self.answer.counts is not None
            yield attrs.evolve(self._whole(body), finish=True, usage=told)
            if strike:
                yield from self._break_off(strike, b"")
            elif self.behaviour.short_body:
                yield Close()

    def _produced(self) -> Iterator[Step]:
        """Yield the making of the answer: nothing is sent yet, but tokens are produced at their pace."""
        if not self.behaviour.pace_s:
            yield Send(
                b"",
                tokens=sum(beat.tokens for beat in self.answer.beats),
                text_bytes=sum(beat.text_bytes for beat in self.answer.beats),
            )
            return
        for beat in self.answer.beats:
            if beat.tokens:
                yield Wait(self.behaviour.pace_s * beat.tokens)
                yield Send(b"", tokens=beat.tokens, text_bytes=beat.text_bytes)

    def _whole(self, body: bytes) -> Send:
        if self.behaviour.gzip:
            body = gzip.compress(body, mtime=0)
        length = len(body) + (_TOO_LONG_BY if self.behaviour.short_body else 0)
        head = self._head("application/json", ("content-length", str(length)))
        return attrs.evolve(head, data=head.data + body)


def _strikes_at(strike: Strike, beat: Beat, produced: int) -> bool:
    """Whether the fault comes before this beat."""
    if beat.kind is BeatKind.START:
        return False
    match strike.point:
        case Point.AFTER_TOKENS:
            return produced >= strike.tokens or beat.kind is BeatKind.FINISH
        case Point.AFTER_FINISH:
            return beat.kind in {BeatKind.USAGE, BeatKind.DONE}
        case Point.AFTER_USAGE:
            return beat.kind is BeatKind.DONE
        case _:
            return False


def _half(frame: bytes) -> bytes:
    """Return the bytes up to the middle of the last event: between two events nothing would be cut."""
    before, separator, _ = frame.removesuffix(b"\n\n").rpartition(b"\n\n")
    whole = len(before) + len(separator)
    return frame[: whole + (len(frame) - whole) // 2]


def as_written(steps: Iterable[Step], behaviour: Behaviour) -> Iterable[Step]:
    """Return the steps with the delay before them, and their bytes grouped into writes as the behaviour says."""
    if behaviour.delay_s:
        steps = itertools.chain([Wait(behaviour.delay_s)], steps)
    if behaviour.writes is Writes.BURST:
        return coalesced(steps)
    if behaviour.writes is Writes.DRIP:
        return dripped(steps, behaviour.drip_s)
    return steps


def _dresser(behaviour: Behaviour) -> _Dressing:
    """Return what makes a frame odd; a frame that stays as it is costs nothing."""
    known: Sequence[tuple[bool, _Dressing]] = (
        (behaviour.invalid_utf8, _invalid_utf8),
        (behaviour.ndjson, _ndjson),
        (behaviour.multi_data, lambda frame, _: frame.replace(b',"', b',\ndata: "', 1)),
        (behaviour.comments, lambda frame, _: frame and _COMMENT + frame),
        (behaviour.pings, lambda frame, _: frame and _PING + frame),
        (behaviour.crlf, lambda frame, _: frame.replace(b"\n", b"\r\n")),
    )
    dressings = [dressing for wanted, dressing in known if wanted]
    if behaviour.gzip:
        dressings.append(_gzipper())

    def dress(frame: bytes, beat: Beat) -> bytes:
        if not frame and beat.kind is not BeatKind.DONE:
            return frame
        for dressing in dressings:
            frame = dressing(frame, beat)
        return frame

    return dress


def _invalid_utf8(frame: bytes, beat: Beat) -> bytes:
    if beat.kind is not BeatKind.TEXT:
        return frame
    return frame.replace(beat.text.encode(), _NOT_UTF8 * beat.tokens)


def _ndjson(frame: bytes, beat: Beat) -> bytes:
    if beat.kind is BeatKind.DONE:
        return b""
    return b"".join(line[6:] + b"\n" for line in frame.split(b"\n") if line.startswith(b"data: "))


def _gzipper() -> _Dressing:
    stream = zlib.compressobj(wbits=31)

    def compressed(frame: bytes, beat: Beat) -> bytes:
        mode = zlib.Z_FINISH if beat.kind is BeatKind.DONE else zlib.Z_SYNC_FLUSH
        return stream.compress(frame) + stream.flush(mode)

    return compressed
