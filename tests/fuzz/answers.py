"""What must hold of any provider's answer in any format, whatever it holds and however it is cut, for any client."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import attrs

from ainf.formats import cost
from ainf.formats.base import Answer, EndingStyle, Listener, Pipe, PipeLimits, Reading
from ainf.formats.collected import Collected
from ainf.formats.count_tokens import CountTokensJudge
from ainf.formats.format import open_pipe
from ainf.formats.registry import FORMATS
from ainf.inference.errors import CODES, AinfError, UpstreamError
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage
from ainf.pricing import Price
from ainf.pricing import cost as price_of
from ainf.protocols.registry import PROTOCOLS
from ainf.providers.registry import PROVIDERS
from ainf.sse import EventStreamReader
from tests.event_streams import read_plainly
from tests.fuzz.choices import Choices
from tests.fuzz.evidence import has_end, largest_count
from tests.gateway.dialects import CHAT, MESSAGES, RESPONSES
from tests.gateway.grammar import check_grammar

WIDE: Final = PipeLimits(line=1 << 20, event=1 << 20, answer=1 << 20)
NARROW: Final = PipeLimits(line=400, event=600, answer=900)
CLIENTS: Final = {"chat": CHAT, "messages": MESSAGES, "responses": RESPONSES}
PRICE: Final = Price(input=3, cached_input=1, output=15, reasoning=15)
FAILURES: Final = ((Ending.UPSTREAM_ERROR, "upstream_timeout"), (Ending.SHUTDOWN, "shutting_down"),
                   (Ending.DEADLINE_EXCEEDED, "deadline_exceeded"), (Ending.TERMINATED, "key_revoked"))  # fmt: skip
_SECRET: Final = re.compile(r"sk-[a-z0-9]{8}|https?://[a-z]+\.test")
_UNSAYABLE: Final = ("no request of this format offers", "arguments that are no JSON object")
"""What a client's format cannot say is refused when it is written: with the whole read that it stands in."""
REMOVED: Final = (b"finish", b"stop", b"usage", b"error", b"done", b"completed", b"incomplete", b"feedback", b"\\u",
                  b"failed", b"\xef\xbb\xbf")  # fmt: skip
"""What an event that is kept from the client has in it, in any format."""


# --- the reader of events ---


def events(data: bytes) -> None:
    """The event reader gives the same events at any cut, those of the standard; its limits hold at any cut."""
    choices = Choices(data)
    line = choices.pick((1 << 20, 1, 8, 40))
    limits = {"max_line_bytes": line, "max_event_bytes": line * choices.pick((1, 2, 5))}
    pieces = choices.cuts(choices.body)
    whole, cut = (_read_events(each, limits) for each in ([choices.body], pieces))
    assert cut[-1] == whole[-1], "a limit holds at one cut and not at another"
    expected = read_plainly(choices.body)
    for raw, payloads, names, is_over in (whole, cut):
        assert (payloads, names) == tuple(part[: len(payloads)] for part in expected)
        if not is_over:
            assert (payloads, names) == expected
            assert raw.startswith(choices.body)
            assert raw[len(choices.body) :] in {b"", b"\n", b"\n\n"}


def _read_events(pieces: Sequence[bytes], limits: dict[str, int]) -> tuple[bytes, list[bytes], list[bytes], bool]:
    reader, raw, payloads, names = EventStreamReader(**limits), b"", [], []
    steps = [*(partial(reader.receive, piece) for piece in pieces), reader.receive_eof]
    for step in steps:
        try:
            batch = step()
        except UpstreamError as error:
            check_failure(error, "upstream_protocol")
            return raw, payloads, names, True
        assert reader.pending <= limits["max_event_bytes"]
        assert len(batch.ends) == len(batch.payloads)
        assert batch.ends == sorted(batch.ends)
        assert all(batch.raw[end - 1] in b"\r\n" for end in batch.ends)
        raw += batch.raw
        payloads += batch.payloads
        names += batch.names or [b"message"] * len(batch.payloads)
    assert reader.pending == 0
    return raw, payloads, names, False


# --- generated answers ---


@attrs.frozen
class Ways:
    """Who listens to whom, and within what limits."""

    client: str
    provider: str
    listener: Listener
    limits: PipeLimits

    def pipe(self) -> Pipe:
        """Return a new pipe between them."""
        return open_pipe(FORMATS[self.client], FORMATS[self.provider], self.listener, self.limits)


@attrs.frozen
class Told:
    """What came of an answer: what the client was handed before the end, and what was learnt."""

    data: bytes
    output_bytes: int
    answer: dict[str, Any]
    failure: str
    has_ended: bool
    """The evidence of an end came before any failure."""
    is_wrapped: bool


def generated(format_name: str, data: bytes) -> None:
    """An answer of a format, streamed or whole, as it is and told to a client of any protocol.

    It has an end only where the bytes hold the evidence of one (L8). What the client gets is one stream of its own
    protocol with one end (L3), or one whole answer; the bytes of its own format are relayed unchanged.
    """
    choices = Choices(data)
    listener = Listener(
        stream=choices.rng.random() < 0.8, include_usage=choices.flag(), model="asked", inference_id="inf-1", created=9
    )
    limits = WIDE if choices.rng.random() < 0.9 else NARROW
    ways = Ways(choices.pick((*CLIENTS, format_name)), format_name, listener, limits)
    is_clean = choices.rng.random() < 0.8
    told, _ = _hear(ways.pipe(), [choices.body], is_clean=is_clean)
    again, pipe = _hear(ways.pipe(), choices.cuts(choices.body), is_clean=is_clean)
    if limits is WIDE:
        _check_same(choices.body, told, again)
    _check_learnt(format_name, choices.body, again)
    if ways.client == format_name and listener.stream and not again.is_wrapped:
        _check_unchanged(choices.body, again)
    _check_end(choices, ways, pipe, again)


def _hear(pipe: Pipe, pieces: Sequence[bytes], *, is_clean: bool) -> tuple[Told, Pipe]:
    readings: list[Reading] = []
    failure, has_ended = "reset", False
    try:
        for piece in pieces:
            readings.append(pipe.receive(piece))
            has_ended = pipe.answer.raw_finish_reason is not None
        if is_clean:
            readings.append(pipe.receive_eof())
            has_ended = pipe.answer.raw_finish_reason is not None
            failure = ""
    except UpstreamError as error:
        check_failure(error, "upstream_protocol", "upstream_truncated")
        failure = str(error)
    data = b"".join(reading.data for reading in readings)
    output_bytes = sum(reading.output_bytes for reading in readings)
    answer = attrs.asdict(pipe.answer, recurse=False) | {"error": str(pipe.answer.error or "")}
    return Told(data, output_bytes, answer, failure, has_ended, pipe.is_wrapped), pipe


def _check_same(body: bytes, whole: Told, cut: Told) -> None:
    """What is told depends on the bytes, and not on the reads that they came in.

    But where fields that nobody reads are no JSON, it may depend on its neighbours whether an event is opaque; of what
    a read tells several times, not all is looked at where the last of it is not believed, or names nobody.
    """
    if whole.failure == cut.failure and any(words in cut.failure for words in _UNSAYABLE):
        return
    if not _is_text(body):
        cut, whole = (attrs.evolve(told, output_bytes=0, answer=told.answer["finish"]) for told in (cut, whole))
    else:
        cut, whole = map(_without_chance, (cut, whole))
    assert cut == whole, "what is told depends on how the bytes were cut"


def _without_chance(told: Told) -> Told:
    usage = None if told.answer["is_usage_rejected"] else told.answer["usage"]
    return attrs.evolve(told, answer=told.answer | {"created": None, "usage": usage})


def _is_text(body: bytes) -> bool:
    """Whether every string in a body is text, and every number one that can be read."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return re.search(rb"\\u[dD][89a-fA-F]|[0-9]{4000}|[0-9][eE]\+?[0-9]{3}", body) is None


def _check_learnt(format_name: str, body: bytes, told: Told) -> None:
    """An end and a usage are learnt only from bytes that hold them."""
    if told.answer["raw_finish_reason"] is not None:
        assert has_end(format_name, body), "an end without evidence"
        assert not told.answer["error"], "both an end and an error"
        assert told.answer["finish"] is not None
    elif not told.failure:
        assert told.answer["error"], "neither an end nor an error"
    _check_usage(body, told.answer["usage"])
    names = [told.answer[name] for name in ("response_id", "model", "raw_finish_reason")]
    assert all(name is None or (0 < len(name) <= 256 and name.isprintable()) for name in names)
    assert told.answer["raw_usage"] is None or len(told.answer["raw_usage"]) <= 2_000
    assert 0 <= told.output_bytes <= 3 * len(body), "more output was counted than came"


def _check_usage(body: bytes, usage: Usage | None) -> None:
    if usage is None:
        return
    counts = attrs.astuple(usage)
    assert all(type(count) is int and count >= 0 for count in counts)
    assert usage.is_consistent()
    assert max(counts) <= largest_count(body), "more was used than was told"
    assert price_of(PRICE, usage) >= 0


def _check_unchanged(body: bytes, told: Told) -> None:
    """What is relayed are lines of the provider's, unchanged and in order; without an end or an error all of them."""
    at = 0
    for line in body.splitlines(keepends=True):
        if told.data.startswith(line, at):
            at += len(line)
    assert told.data[at:] in {b"", b"\n", b"\n\n"}, "a relayed byte is not the provider's"
    is_refused = any(word in told.failure for word in ("over the gateway", "neither JSON", "nothing"))
    if body.strip() and not is_refused and not any(word in body.lower() for word in REMOVED):
        assert (body + b"\n\n").startswith(told.data), "something was dropped"
        assert b"\r" in body or body.rfind(b"\n\n") + 2 <= len(told.data) + 1, "whole events were held back"


def _outcome(choices: Choices, pipe: Pipe, told: Told) -> Outcome:
    usage = pipe.answer.usage or Usage()
    if told.has_ended:
        ending = choices.pick((Ending.COMPLETED, Ending.COMPLETED, Ending.SPEND_CAP_EXCEEDED))
        return Outcome(Verdict(ending), None, usage, Evidence.REPORTED, 7)
    if pipe.answer.error is not None and not told.failure:
        error = pipe.answer.error
        verdict = Verdict(Ending.UPSTREAM_ERROR, error.code, error.message, error.retry_after_s, error.param)
    elif told.failure and told.failure != "reset":
        verdict = Verdict(Ending.UPSTREAM_ERROR, "upstream_protocol", told.failure)
    elif choices.flag():
        verdict = Verdict(Ending.SPEND_CAP_EXCEEDED)
    else:
        verdict = Verdict(*choices.pick(FAILURES))
    return Outcome(verdict, None, usage, Evidence.METERED, 7)


def _check_end(choices: Choices, ways: Ways, pipe: Pipe, told: Told) -> None:
    """Hand over all or a part of what came, say how it ended, and look at what the client has then."""
    outcome = _outcome(choices, pipe, told)
    style = EndingStyle(
        finish_reasons=choices.pick(("extended", "strict", "loud")),
        inference_id="inf-1",
        created=9,
        model="served",
        retryable=choices.flag(),
        tells_cost=choices.flag(),
    )
    if not ways.listener.stream:
        if told.has_ended:
            _check_whole(ways.client, cost.close(pipe, outcome, style, is_stream=False))
        return
    handed = told.data
    if outcome.ending is not Ending.COMPLETED and choices.flag():
        handed = _part(choices, pipe, told)
    group = cost.close(pipe, outcome, style, is_stream=True)
    if ways.client in CLIENTS:
        payloads = read_plainly(group)[0]
        assert sum(map(_TERMINALS[ways.client], payloads)) == 1, "not one end"
        assert _TERMINALS[ways.client](payloads[-1]), "something is behind the end"
        if told.is_wrapped or ways.client != ways.provider:
            _check_stream(ways.client, handed + group, outcome)


def _part(choices: Choices, pipe: Pipe, told: Told) -> bytes:
    """Cut what came as a cap does, and take back what the client is not handed."""
    reading = Reading(told.data, told.output_bytes, is_content=True, is_meaningful=True)
    room = choices.rng.randint(0, told.output_bytes + 1)
    piece, rest = pipe.split(reading, room)
    assert piece.data + rest.data == reading.data
    assert piece.output_bytes + rest.output_bytes == reading.output_bytes
    assert piece.output_bytes <= room
    if rest.data:
        pipe.rewind(rest.data)
    return piece.data


def _check_stream(client: str, data: bytes, outcome: Outcome) -> None:
    """What is written by us is a sound stream of the client's protocol, whatever the provider did."""
    payloads, _ = read_plainly(data)
    check_grammar(CLIENTS[client], payloads)
    is_failure = outcome.ending not in {Ending.COMPLETED, Ending.SPEND_CAP_EXCEEDED}
    assert is_failure <= _FAILURES[client](payloads), "a failure dressed as a success"


def _check_whole(client: str, body: bytes) -> None:
    """A whole answer can be shaped for every path."""
    if client == "chat":
        shaped = PROTOCOLS["chat_completions"].finish_json(body, {"cost": "0.1", "audit_url": "x"})
        assert isinstance(json.loads(shaped), dict)


def _document(payload: bytes) -> dict[str, Any]:
    try:
        document = json.loads(payload.decode("utf-8", "replace"))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _kind(payload: bytes) -> Any:
    return _document(payload).get("type")


_TERMINALS: Final[Mapping[str, Callable[[bytes], bool]]] = {
    "chat": lambda payload: payload == b"[DONE]",
    "messages": lambda payload: _kind(payload) in ("message_stop", "error"),
    "responses": lambda payload: _kind(payload) in ("response.completed", "response.incomplete", "response.failed"),
}
"""Whether an event is a terminal one, by format."""
_FAILURES: Final[Mapping[str, Callable[[list[bytes]], bool]]] = {
    "chat": lambda payloads: any("error" in _document(payload) for payload in payloads),
    "messages": lambda payloads: _kind(payloads[-1]) == "error",
    "responses": lambda payloads: _kind(payloads[-1]) == "response.failed",
}
"""Whether a stream tells of a failure, by format."""


# --- answers that are not generated ---


def embeddings(data: bytes) -> None:
    """Vectors, of OpenAI's format or Gemini's: as many as inputs, told in JSON; any cut is the same."""
    choices = Choices(data)
    encoding, inputs = choices.pick(("float", "base64")), choices.pick((1, 2))
    echo = {"inputs": inputs, "encoding_format": encoding}
    listener = Listener(
        stream=False, include_usage=False, model="asked", inference_id="inf-1", created=9, echo=echo
    )  # fmt: skip
    provider = choices.pick(("embeddings", "gemini_embeddings"))
    pipes = [PROTOCOLS["embeddings"].open_pipe(listener, provider, WIDE) for _ in range(2)]
    told, _ = _hear(pipes[0], [choices.body], is_clean=True)
    again, pipe = _hear(pipes[1], choices.cuts(choices.body), is_clean=True)
    assert again == told
    _check_usage(choices.body, pipe.answer.usage)
    if pipe.answer.raw_finish_reason is not None:
        outcome = Outcome(Verdict(Ending.COMPLETED), None, Usage(input_tokens=3), Evidence.METERED, 7)
        written = pipe.close(outcome, EndingStyle("extended", "inf-1", 9, "served", retryable=False))
        assert provider == "gemini_embeddings" or written == choices.body
        if provider == "gemini_embeddings":
            assert len(json.loads(written)["data"]) == inputs


def counts(data: bytes) -> None:
    """A count of tokens: relayed as it came, an end only where it says a number."""
    choices = Choices(data)
    told, pipe = _hear(Collected(CountTokensJudge(), WIDE, Answer()), choices.cuts(choices.body), is_clean=True)
    assert bool(told.failure or told.answer["error"]) == (pipe.answer.raw_finish_reason is None)
    _check_usage(choices.body, pipe.answer.usage)


def refusals(data: bytes) -> None:
    """Any vendor's refusal, whatever its body and headers say, is an error of ours, short and fit to be shown."""
    choices = Choices(data)
    status = choices.pick((400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 499, 500, 502, 503, 504, 529, 599))
    head, _, body = choices.body.partition(b"\r\n\r\n")
    headers = dict(line.partition(b": ")[::2] for line in head.lower().split(b"\r\n"))
    for provider in PROVIDERS.values():
        error = provider.read_error(status, headers, body)
        check_error(error)
        assert _SECRET.search(error.message) is None, "a secret or a host is shown"
        assert status < 500 or "zq" not in error.message, "a failing provider's own words are shown"


def check_error(error: AinfError) -> None:
    """Check that an error can be told, in any protocol."""
    assert error.code in CODES
    assert 0 < len(error.message) <= 600
    assert error.retry_after_s is None or 1 <= error.retry_after_s <= 60
    assert error.param is None or len(error.param) <= 300
    error.message.encode()
    (error.param or "").encode()


def check_failure(error: AinfError, *codes: str) -> None:
    """Check that a failure is one of those that are declared, and can be told."""
    assert error.code in codes
    check_error(error)
