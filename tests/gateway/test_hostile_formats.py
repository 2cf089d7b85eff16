"""Hostile providers in the messages, responses and gemini formats, to clients of every protocol.

Whatever they send: one honest end in the client's own words, or the answer with the provider's own end; never an
invented one, never a defect, nothing of the provider's inside. A client of another format gets a stream that its parser
can rely on, event by event.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
import trio
import trio.testing

from ainf.simulator import Send, Stall, Step, Wait, chunk, head, last_chunk, whole
from ainf.simulator.steps import Script
from tests.extent import SEED, STRIDE
from tests.gateway.backends import INPUT_RATE
from tests.gateway.dialects import DIALECTS, Dialect
from tests.gateway.grammar import check_grammar
from tests.gateway.hostile_rows import (
    BEGIN,
    CUSTOM_CALL,
    LIES,
    SILENCES,
    TAIL,
    TOLD,
    Row,
    event,
    first_rows,
    lying,
    rows_of,
)
from tests.gateway.law import check_ledger, check_provider
from tests.gateway.leaks import check_no_leak
from tests.gateway.told import check_failure
from tests.gateway.world import Client, World, world

LIMITS: Final = "silence_s = 3\nfirst_byte_s = 4\nexchange_s = 30"
FORMATS: Final = ("messages", "responses", "gemini")

pairs = pytest.mark.parametrize(
    ("dialect", "format_"),
    [pytest.param(dialect, format_, id=f"{dialect.format}-{format_}") for dialect in DIALECTS for format_ in FORMATS],
)
both = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


async def played(here: World, dialect: Dialect, format_: str, steps: list[Step], *, stream: bool) -> Client:
    here.log.seek(0)
    here.log.truncate()
    here.simulator.set_script(Script([head(), *steps, last_chunk()]))
    return await here.speak(dialect, f"{format_}/sim", stream=stream)


async def check_honest(here: World, client: Client, format_: str) -> dict[str, Any]:
    """Whatever happened, it ended once, told as it is, without a defect, and nothing leaked; return the receipt."""
    receipt = await here.receipt(client.inference_id)
    assert receipt["ending"] in {"completed", "upstream_error", "deadline_exceeded"}
    is_relayed = client.dialect.format == format_ and client.headers.get("x-ainf-stream-mode") == "native"
    if receipt["ending"] == "completed":
        assert client.status == 200
        assert receipt["attempts"][0]["raw_finish_reason"]
        assert receipt["settled_nusd"] > 0
        if not is_relayed:
            assert client.said().error is None
            assert client.said().reason
    else:
        in_stream = client.is_streamed and receipt["output_bytes"] > 0
        check_failure(client, receipt, receipt["error_code"], in_stream=in_stream)
    if client.is_streamed:
        assert terminals(client) == 1
        if not is_relayed:
            check_grammar(client.dialect, client.payloads())
    check_no_leak(here, client)
    return receipt


_ENDS: Final = {
    "chat": re.compile(rb"^data: \[DONE\]$", re.MULTILINE),
    "messages": re.compile(rb'^event: (message_stop|error)[\r\n]+data: (?=.*"type": ?"\1")', re.MULTILINE),
    "responses": re.compile(
        rb'^event: (response\.(?:completed|incomplete|failed))[\r\n]+data: (?=.*"type": ?"\1")', re.MULTILINE
    ),
}


def terminals(client: Client) -> int:
    """How many terminal frames a stream has, read from raw bytes: a relay hands on what no parser would bear."""
    body = client.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    ends = list(_ENDS[client.dialect.format].finditer(body))
    assert b"\n" not in body[ends[-1].end() :].rstrip(b"\n"), "something behind the end"
    return len(ends)


async def check_rows(
    here: World, dialect: Dialect, format_: str, begin: list[Step], rows: Mapping[str, Row], *, stream: bool
) -> None:
    for name, row in rows.items():
        frames = [chunk(row.frames)] if row.frames else []
        client = await played(here, dialect, format_, [*begin, *frames, *row.steps], stream=stream)
        is_relayed = dialect.format == format_ and stream
        code = row.relayed if is_relayed and row.relayed is not None else row.code
        if not stream and code == "upstream_timeout":  # a whole answer has only the exchange's own clock
            code = "deadline_exceeded" if Stall() in row.steps else "upstream_truncated"
        try:
            receipt = await check_honest(here, client, format_)
            assert (receipt["error_code"] or "") == code
            await check_provider(here)
        except Exception as failure:
            failure.add_note(f"the row is {name!r}")
            raise


@pytest.mark.threat(75, 76, 78, 79, 81, 82, 83, 84, 85, 86, 87, 93, 94, 97, 98, 108, 109, 110, 111, 112, "S12", "S17")
@pairs
@both
async def test_behind_a_good_beginning(stream, dialect, format_, tmp_path, autojump_clock):
    """Each row ends as it must, relayed and translated, streamed and whole."""
    rows, begin = rows_of(format_), [chunk(BEGIN[format_]), Wait(0.01)]
    async with world(tmp_path, f"{format_}/sim", limits=LIMITS) as here:
        await check_rows(here, dialect, format_, begin, rows, stream=stream)
        await check_ledger(here, admitted=len(rows))


@pytest.mark.threat(99, 102, 107)
@pairs
@both
async def test_from_the_first_byte_on(stream, dialect, format_, tmp_path, autojump_clock):
    """What is no answer from its beginning is an HTTP error; what lacks its beginning only is given one."""
    rows = first_rows(format_)
    async with world(tmp_path, f"{format_}/sim", limits=LIMITS) as here:
        await check_rows(here, dialect, format_, [], rows, stream=stream)
        await check_ledger(here, admitted=len(rows))


@pytest.mark.threat(88, 89, 92)
@pairs
async def test_usage_that_cannot_be_true(dialect, format_, tmp_path, autojump_clock):
    """A last word on usage that is no count settles at our own, flagged; so does none, whatever was told before."""
    async with world(tmp_path, f"{format_}/sim", limits=LIMITS) as here:
        for count in TOLD[format_]:
            for name, lie in {**LIES, **(SILENCES if count == TOLD[format_][1] else {})}.items():
                steps: list[Step] = [chunk(lying(format_, count, lie))]
                client = await played(here, dialect, format_, steps, stream=True)
                receipt = await check_honest(here, client, format_)
                assert (receipt["ending"], receipt["evidence"]) == ("completed", "metered"), (count, name)
                assert receipt["usage"]["output_tokens"] == 2
                if name in LIES:
                    assert receipt["notes"]["usage_rejected"] is True, (count, name)
        await check_ledger(here)


@pytest.mark.threat(110)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_a_prompt_that_a_filter_blocked_costs_what_was_read(dialect, tmp_path, autojump_clock):
    """Gemini says so without a word; that the client is told something of it costs nothing."""
    blocked = event({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}})
    async with world(tmp_path, "gemini/sim", limits=LIMITS) as here:
        client = await played(here, dialect, "gemini", [chunk(blocked)], stream=True)
        receipt = await check_honest(here, client, "gemini")
        assert client.said().refusal or client.said().text
        assert (receipt["evidence"], receipt["settled_nusd"]) == ("reported", 4 * INPUT_RATE)


@pytest.mark.threat(112)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_a_call_that_a_client_has_no_words_for(dialect, tmp_path, autojump_clock):
    """What came with it in one read was not handed over, so nothing of that is ended."""
    steps = [chunk(BEGIN["responses"]), Wait(0.01), chunk(CUSTOM_CALL), Wait(0.01), chunk(TAIL["responses"])]
    async with world(tmp_path, "responses/sim", limits=LIMITS) as here:
        client = await played(here, dialect, "responses", steps, stream=True)
        receipt = await check_honest(here, client, "responses")
        assert receipt["error_code"] == ("upstream_protocol" if dialect.format == "messages" else None)


# --- wrong types in every field ---

WRONG: Final = ([], {}, 7, -1, 1.5, "x", "", True, None, [{}], {"a": []})


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in inside:
        yield from places_in(child, (*path, name))


def mutations(frames: bytes) -> Iterator[tuple[str, bytes]]:
    """A good stream with one place in one of its events changed to every wrong value."""
    events = frames.split(b"\n\n")[:-1]
    for number, whole_event in enumerate(events):
        name, _, data = whole_event.rpartition(b"data: ")
        for path in places_in(json.loads(data)):
            for wrong in WRONG:
                document = json.loads(data)
                place = document
                for step in path[:-1]:
                    place = place[step]
                place[path[-1]] = wrong
                changed = name + b"data: " + json.dumps(document).encode()
                yield (
                    f"{number}: {path} = {wrong!r}",
                    b"\n\n".join([*events[:number], changed, *events[number + 1 :], b""]),
                )


@pytest.mark.threat(86)
@pytest.mark.law
@pairs
def test_wrong_types_in_every_field(dialect, format_, tmp_path, count_cases):
    """Whatever stands in whichever field: an honest end, and a stream that a client of another format can parse."""

    async def run() -> int:
        count = 0
        async with world(tmp_path, f"{format_}/sim", limits=LIMITS) as here:
            for number, (name, frames) in enumerate(mutations(BEGIN[format_] + TAIL[format_])):
                if number % STRIDE == SEED % STRIDE:
                    client = await played(here, dialect, format_, [chunk(frames)], stream=number % 3 > 0)
                    try:
                        await check_honest(here, client, format_)
                    except Exception as failure:
                        failure.add_note(name)
                        raise
                    count += 1
            await check_ledger(here, admitted=count)
        return count

    cases = trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    count_cases(f"fields of wrong types, AINF_SEED={SEED}", cases)


# --- refusals ---

SAID: Final = "at https://gpu-17.internal:8000/v1 for sk-provider-secret-123456 in /srv/app/worker.py"
STATUSES: Final = {
    400: (400, "upstream_rejected"), 401: (502, "upstream_auth"), 402: (502, "upstream_auth"),
    403: (502, "upstream_auth"), 404: (400, "upstream_rejected"), 408: (502, "upstream_error"),
    409: (502, "upstream_error"), 413: (400, "upstream_rejected"), 418: (502, "upstream_error"),
    422: (400, "upstream_rejected"), 429: (503, "upstream_overloaded"), 500: (502, "upstream_error"),
    502: (502, "upstream_error"), 503: (503, "upstream_overloaded"), 504: (502, "upstream_error"),
    529: (503, "upstream_overloaded"),
}  # fmt: skip


def refusal(format_: str, status: int, message: str, code: str | None = None) -> bytes:
    """An error's body as the format has it."""
    body: dict[str, Any] = {
        "messages": {
            "type": "error",
            "error": {"type": code or "api_error", "message": message},
            "request_id": "req_x",
        },
        "responses": {"error": {"message": message, "type": "some_error", "param": None, "code": code}},
        "gemini": {"error": {"code": status, "message": message, "status": code or "UNKNOWN"}},
    }[format_]
    return json.dumps(body).encode()


BODIES: Final = {
    "empty": b"",
    "text": SAID.encode(),
    "list": b"[1]",
    "null": b"null",
    "deep": b"[" * 9999,
    "half": b'{"e',
}
MEANT: Final = {
    "messages": [
        (400, "prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error", "context_length_exceeded"),
        (400, "Output blocked by content filtering policy", "invalid_request_error", "content_filter"),
        (400, "Your credit balance is too low", "invalid_request_error", "upstream_auth"),
        (400, "invalid x-api-key", "authentication_error", "upstream_auth"),
        (500, "Overloaded", "overloaded_error", "upstream_overloaded"),
    ],
    "responses": [
        (400, "Your input exceeds the context window", "context_length_exceeded", "context_length_exceeded"),
        (400, "Invalid prompt: it was flagged", "invalid_prompt", "content_filter"),
        (429, "You exceeded your current quota", "insufficient_quota", "upstream_auth"),
        (400, "Incorrect API key provided", "invalid_api_key", "upstream_auth"),
        (500, "Slow down", "server_overloaded", "upstream_overloaded"),
    ],
    "gemini": [
        (400, "The input token count (9) exceeds the maximum number of tokens allowed (8)", "INVALID_ARGUMENT",
         "context_length_exceeded"),
        (400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", "upstream_auth"),
        (429, "Quota exceeded", "RESOURCE_EXHAUSTED", "upstream_overloaded"),
        (500, "The model is overloaded.", "UNAVAILABLE", "upstream_overloaded"),
    ],
}  # fmt: skip


async def refused(here: World, dialect: Dialect, format_: str, step: Send, *, stream: bool) -> Client:
    here.simulator.set_script(Script([step]))
    client = await here.speak(dialect, f"{format_}/sim", stream=stream)
    receipt = await here.receipt(client.inference_id)
    assert receipt["settled_nusd"] == 0
    check_failure(client, receipt, receipt["error_code"], in_stream=False)
    assert client.status not in {401, 402, 403}
    check_no_leak(here, client)
    return client


@pytest.mark.threat(113, 114, 115, 116)
@pairs
@both
async def test_refusals(stream, dialect, format_, tmp_path, autojump_clock):
    """Every status, odd bodies too: our own status and code in the client's shape, nothing of the provider's inside."""
    async with world(tmp_path, f"{format_}/sim", limits=LIMITS) as here:
        for status, (told_status, code) in STATUSES.items():
            odd_bodies = BODIES.values() if status in {400, 429, 500} else ()
            for body in (refusal(format_, status, SAID), *odd_bodies):
                step = whole(status, "application/json", body)
                client = await refused(here, dialect, format_, step, stream=stream)
                assert (client.status, client.json()["error"]["code"]) == (told_status, code), (status, body[:40])
        for status, message, word, code in MEANT[format_]:
            step = whole(status, "application/json", refusal(format_, status, f"{message} {SAID}", word))
            client = await refused(here, dialect, format_, step, stream=stream)
            assert client.json()["error"]["code"] == code, message
        await check_ledger(here)


@pytest.mark.threat(115, "S13")
@pairs
async def test_retry_after(dialect, format_, tmp_path, autojump_clock):
    """Whatever a provider says of waiting, in a header or in Google's details, the client is told 1 to 60 seconds."""
    waits = {"soon": 1, "-5": 1, "0": 1, "7": 7, "1000000000000": 60, "9" * 300: 1, "1.5": 1, "": 1, "7, 8": 1}
    async with world(tmp_path, f"{format_}/sim", limits=LIMITS) as here:
        for said, told in waits.items():
            step = whole(429, "application/json", refusal(format_, 429, "Later."), {"retry-after": said})
            client = await refused(here, dialect, format_, step, stream=True)
            assert client.headers["retry-after"] == str(told), said
        for delay, told in {"34.07s": 35, "-5s": 1, "999999999s": 60, "x": 1, "1e9s": 1}.items():
            details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
            body = json.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}).encode()
            client = await refused(here, dialect, format_, whole(429, "application/json", body), stream=True)
            assert client.headers["retry-after"] == str(told), delay
