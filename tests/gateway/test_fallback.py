"""The first model fails before its first content, in every way there is: the client is given the second one's answer.

Each case is a way to fail, in one wire format, before an answer in this or another; asked in every protocol, streamed
and whole. What a failure is called and costs is compared with what a client is told of it that pins the model.
"""

import gzip
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio
import trio.testing

from ainf.simulator import Reset, Step, Wait, chunk, head, last_chunk, whole
from ainf.simulator.steps import Script
from tests.extent import SEED, STRIDE
from tests.gateway.backends import FORMATS
from tests.gateway.candidates import (
    LIMITS,
    Candidate,
    Order,
    ask_target,
    check_routed,
    counter,
    entries,
    name_of,
    outcomes,
    reach,
    target_text,
)
from tests.gateway.dialects import DIALECTS, Dialect
from tests.gateway.grammar import check_grammar
from tests.gateway.hostile_rows import event, named
from tests.gateway.law import check_ledger
from tests.gateway.world import Client, World, world

GOODS: Final = ("sim-tokens-7", "sim-tokens-7-json-for-sse", "sim-tokens-7-sse-for-json-burst", "sim-tokens-7-drip")
JSON: Final = "application/json"
TOGETHER: Final = 12
"""Cases in one gateway: whose books grow with them."""

Steps = Callable[[str], Iterable[Step]]
"""What is answered in a wire format."""


@attrs.frozen
class Kind:
    """A way to fail."""

    behaviour: str = "sim"
    code: str | None = None
    """How it is called; None: as its format has it."""
    steps: Steps | None = None
    """What is answered, where no behaviour does it."""
    origin: str = ""
    modes: frozenset[bool] = frozenset({True, False})
    """Streamed or not."""
    formats: frozenset[str] = frozenset(FORMATS)
    charged: bool | None = None
    """Whether it costs anything; None: as its format has it."""


STREAM: Final = frozenset({True})
WHOLE: Final = frozenset({False})


def _beginning(format_: str) -> bytes:
    """What comes before any content."""
    role = {"id": "c_first", "model": "of-the-first", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}
    message = {"id": "msg_first", "type": "message", "role": "assistant", "model": "of-the-first", "content": []}
    message |= {"stop_reason": None, "usage": {"input_tokens": 4, "output_tokens": 1}}
    response = {
        "id": "resp_first",
        "object": "response",
        "model": "of-the-first",
        "status": "in_progress",
        "output": [],
    }
    return {
        "chat": lambda: event(role),
        "messages": lambda: named("message_start", message=message),
        "responses": lambda: named("response.created", sequence_number=0, response=response),
        "gemini": lambda: event({"responseId": "first", "modelVersion": "of-the-first", "usageMetadata": {}}),
    }[format_]()


def _quota(format_: str) -> Iterator[Step]:
    """An account without money, told in the stream, as OpenAI does it."""
    error = {"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded your current quota."}
    yield head()
    yield chunk(_beginning(format_))
    yield chunk(named("error", sequence_number=1, **{**error, "type": "error"}))
    failed = {"id": "resp_first", "object": "response", "status": "failed", "error": error, "output": []}
    yield chunk(named("response.failed", sequence_number=2, response=failed))
    yield last_chunk()


def _pings(format_: str) -> Iterator[Step]:
    yield head()
    yield chunk(_beginning(format_))
    while True:
        yield Wait(1)
        yield chunk(named("ping") if format_ == "messages" else b": ping\n\n")


def _long_prelude(format_: str) -> Iterator[Step]:
    yield head()
    yield chunk(_beginning(format_))
    for _ in range(40):
        yield chunk(b": " + b"x" * 4000 + b"\n\n")
    yield Wait(60)


def _reset(_: str) -> Iterator[Step]:
    yield head()
    yield from (Wait(0.1), Reset())


def _reset_later(format_: str) -> Iterator[Step]:
    yield head()
    yield chunk(_beginning(format_))
    yield from (Wait(0.1), Reset())


def _reset_halfway(_: str) -> Iterator[Step]:
    answer = whole(200, JSON, b'{"id": "of-the-first", "model": "of-the-first", ' + b" " * 1000 + b"}")
    yield attrs.evolve(answer, data=answer.data[:-500])
    yield from (Wait(0.1), Reset())


def _zipped(_: str) -> Iterator[Step]:
    body = gzip.compress(b"{}")
    yield whole(200, JSON, body, {"content-encoding": "gzip"})


def _document(body: bytes) -> Steps:
    return lambda _: [whole(200, JSON, body)]


KINDS: Final = {
    "refused": Kind(code="upstream_unreachable", origin="http://refuses.test", charged=False),
    "no such host": Kind(code="upstream_unreachable", origin="http://unknown.test", charged=False),
    "no TLS": Kind(code="upstream_unreachable", origin="https://plain.test", charged=False),
    "connect timeout": Kind(code="upstream_timeout", origin="http://nowhere.test", charged=False),
    "reset before the head": Kind("sim-reset-before-head", charged=False),
    "closed before the head": Kind("sim-close-before-head", "upstream_error", charged=False),
    "reset behind the head": Kind(code="upstream_truncated", steps=_reset, charged=True),
    "reset behind the prelude": Kind(code="upstream_truncated", steps=_reset_later, modes=STREAM, charged=True),
    "reset in the answer": Kind(code="upstream_truncated", steps=_reset_halfway, modes=WHOLE, charged=True),
    "closed behind the head": Kind("sim-close-after-head", "upstream_truncated", charged=True),
    "ended behind the head": Kind("sim-eof-after-head", charged=True),
    **{
        f"status {status}": Kind(f"sim-error-{status}", code, charged=False)
        for status, code in {
            401: "upstream_auth", 402: "upstream_auth", 403: "upstream_auth", 404: "upstream_error",
            408: "upstream_error", 409: "upstream_error", 429: "upstream_overloaded", 500: "upstream_error",
            503: "upstream_overloaded", 529: "upstream_overloaded",
        }.items()
    },
    "status 429 without a word": Kind(
        code="upstream_overloaded", steps=lambda _: [whole(429, JSON, b"{}")], charged=False
    ),
    "status 429 for 7 s": Kind("sim-error-429-retry-after-7", "upstream_overloaded", charged=False),
    "status 500 with a trace": Kind("sim-error-500-html", "upstream_error", charged=False),
    "overloaded": Kind("sim-overloaded", "upstream_overloaded", charged=False),
    "silent": Kind("sim-stall-before-head", "upstream_timeout", modes=STREAM, charged=False),
    "silent behind the head": Kind("sim-stall-after-head", "upstream_timeout", modes=STREAM, charged=True),
    "silent behind the prelude": Kind("sim-stall-after-0", "upstream_timeout", modes=STREAM, charged=True),
    "pings for ever": Kind(code="upstream_timeout", steps=_pings, modes=STREAM, charged=True),
    "prelude for ever": Kind(steps=_long_prelude, modes=STREAM, charged=True),
    "empty 200": Kind("sim-empty-200", "upstream_protocol", charged=True),
    "empty stream": Kind("sim-empty-stream", charged=True),
    "status 204": Kind("sim-status-204", "upstream_protocol", charged=False),
    "redirect": Kind("sim-redirect-307", "upstream_protocol", charged=False),
    "HTML": Kind("sim-html-200", "upstream_protocol", charged=True),
    "binary": Kind("sim-binary-200", "upstream_protocol", charged=True),
    "zipped": Kind(code="upstream_protocol", steps=_zipped, charged=True),
    "two lengths": Kind("sim-two-lengths", "upstream_protocol", charged=True),
    "a huge header": Kind("sim-huge-header", "upstream_protocol", charged=True),
    "bad status line": Kind("sim-bad-status-line", "upstream_protocol", charged=False),
    "not HTTP": Kind("sim-not-http", "upstream_protocol", charged=False),
    "TLS bytes": Kind("sim-tls-bytes", "upstream_protocol", charged=False),
    "cut JSON": Kind(code="upstream_truncated", steps=_document(b'{"id": "of-the-first", "choices'), charged=True),
    "broken JSON": Kind(steps=_document(b'{"id": "of-the-first"]]}'), charged=True),
    "no answer's JSON": Kind(steps=_document(b"[1, 2]"), charged=True),
    "closed before content": Kind("sim-close-after-0", "upstream_truncated", charged=True),
    "ended before content": Kind("sim-eof-after-0", charged=True),
    "cut in a frame": Kind("sim-cut-json-after-0", charged=True),
    "cut in a chunk": Kind("sim-cut-chunk-after-0", charged=True),
    "error first": Kind("sim-error-first", charged=True),
    "error as text": Kind("sim-error-string-after-0", charged=True),
    "error as event": Kind("sim-error-event-after-0", charged=True),
    "quota behind the prelude": Kind(
        code="upstream_auth", steps=_quota, modes=STREAM, formats=frozenset({"responses"}), charged=True
    ),
}  # fmt: skip


@attrs.frozen
class Case:
    """A failure in one wire format, and the answer in another."""

    name: str
    first: str
    second: str
    good: str

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    def text(self, target: str) -> str:
        return target_text(
            Candidate(self.kind.behaviour, self.first, self.kind.origin), Candidate(self.good, self.second), name=target
        )

    def play(self, here: World) -> None:
        """Let the next request fail."""
        here.simulator.set_script(Script(*([] if self.kind.steps is None else [self.kind.steps(self.first)])))


def cases(*, stream: bool) -> Iterator[Case]:
    """Each kind in each format, before every other format in turn."""
    for number, (name, first, second) in enumerate(itertools.product(KINDS, FORMATS, FORMATS)):
        kind = KINDS[name]
        is_turn = (number + number // len(FORMATS) + number // len(FORMATS) ** 2) % 2 == 0
        if stream in kind.modes and first in kind.formats and is_turn:
            yield Case(name, first, second, GOODS[(number // 3) % len(GOODS)])


async def check_case(here: World, dialect: Dialect, case: Case, target: str, *, stream: bool) -> None:
    kind = case.kind
    order = Order(here)
    case.play(here)
    client = await ask_target(here, dialect=dialect, stream=stream, target=target)
    assert client.status == 200
    code = (await here.receipt(client.inference_id))["attempts"][0]["error_code"]
    assert code == (kind.code or code), code
    receipt = await check_routed(here, client, "fell_back", [code, None])
    was_asked = not kind.origin
    assert order.steps == [*(["asked"] if was_asked else []), "opened 2", "asked"], "it is opened before it is asked"
    check_answer(here, client, receipt)
    first, second = receipt["attempts"]
    assert (first["cost_nusd"] > 0) is (kind.charged if kind.charged is not None else first["cost_nusd"] > 0)
    assert second["cost_nusd"] > 0
    assert (first["provider"], second["provider"]) == (
        f"at-{name_of(target, 1)}" if kind.origin else FORMATS[case.first][0], FORMATS[case.second][0],
    )  # fmt: skip
    await check_as_pinned(here, dialect, case, target, first, stream=stream)
    order.stop()


def check_answer(here: World, client: Client, receipt: dict[str, Any]) -> None:
    """The client was given the second one's answer, whole, and nothing of the first."""
    entry = entries(here, client)[-1]
    said = client.said()
    assert len(said.text.encode()) == entry.text_bytes > 0
    assert said.error is None
    told = receipt["attempts"][1]["usage"]
    assert (said.input_tokens, said.output_tokens) == (told["input_tokens"], 7), "its own usage, not the sum"
    assert (client.headers["x-ainf-model"], client.headers["x-ainf-provider"]) == (
        receipt["attempts"][1]["model"], receipt["attempts"][1]["provider"],
    )  # fmt: skip
    if client.is_streamed:
        check_grammar(client.dialect, client.payloads())
    first = receipt["attempts"][0]
    for word in {"of-the-first", first["response_id"], first["model"]} - {None}:
        assert word not in client.body.decode()
    assert first["upstream_model"] == receipt["attempts"][1]["upstream_model"] or (
        f'"{first["upstream_model"]}"' not in client.body.decode()
    )


async def check_as_pinned(
    here: World, dialect: Dialect, case: Case, target: str, first: dict[str, Any], *, stream: bool
) -> None:
    """To who names the model itself the failure is called the same, and costs the same."""
    case.play(here)
    client = await here.speak(dialect, name_of(target, 1), stream=stream)
    receipt = await here.receipt(client.inference_id)
    assert receipt["ending"] == "upstream_error"
    assert receipt["router"] == "direct"
    (line,) = receipt["attempts"]
    if first["status"] == 404:
        assert receipt["error_code"] == "upstream_rejected"  # it is the client that names the model here
    else:
        assert receipt["error_code"] == first["error_code"]
    same = ("status", "cost_nusd", "usage", "evidence", "upstream_model", "provider", "price_version")
    assert {name: line[name] for name in same} == {name: first[name] for name in same}


async def check_cases(tmp_path: Path, dialect: Dialect, chosen: list[Case], *, stream: bool) -> None:
    targets = {f"t-{number:02}0": case for number, case in enumerate(chosen)}
    text = "".join(case.text(target) for target, case in targets.items())
    async with world(tmp_path, "sim", limits=LIMITS + "\nprelude_bytes = 65536", after=text, reach=reach) as here:
        for target, case in targets.items():
            try:
                await check_case(here, dialect, case, target, stream=stream)
            except Exception as failure:
                failure.add_note(f"the case is {case}")
                raise
        await check_ledger(here, admitted=2 * len(chosen))
        assert [one["status"] for one in await outcomes(here)] == ["fell_back"] * len(chosen)
        assert counter(here, "routing_outcomes", status="fell_back", target="t-000") == 1


@pytest.mark.law
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
def test_every_failure_before_content_is_the_seconds_turn(dialect, stream, tmp_path, count_cases):
    """One answer, of the second model alone; both are on record, each with its own cost, and settled once."""
    chosen = [case for number, case in enumerate(cases(stream=stream)) if number % STRIDE == SEED % STRIDE]

    async def run() -> None:
        for start in range(0, len(chosen), TOGETHER):
            await check_cases(tmp_path, dialect, chosen[start : start + TOGETHER], stream=stream)

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    count_cases(f"failures before content, AINF_SEED={SEED}", len(chosen))
