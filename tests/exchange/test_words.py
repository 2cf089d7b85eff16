"""Last words: what is said at an end is what is kept of it, and how an outcome is told in general."""

import json
from types import SimpleNamespace

import attrs
import pytest

from ainf.exchange.words import Words, error_of, is_answered, kept_answer, may_retry, shaped, stream_mode, style_of
from ainf.inference.errors import CODES
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage
from ainf.store.claims import find
from tests.gateway.dialects import DIALECTS
from tests.gateway.keyed import ask, plan_of
from tests.gateway.world import world


def outcome(ending: Ending, code: str | None = None, billed: int = 0, message: str | None = None) -> Outcome:
    return Outcome(Verdict(ending, code, message), None, Usage(), Evidence.METERED, billed)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("behaviour", ["sim-tokens-5", "sim-error-400", "sim-tokens-9-error-after-3"])
async def test_what_is_kept_is_what_was_said(dialect, stream, behaviour, tmp_path, autojump_clock):
    """Status, headers and every byte, whatever the end and the mode."""
    model = f"{dialect.format}/{behaviour}"
    async with world(tmp_path, model) as here:
        client = await ask(here, model, stream=stream, dialect=dialect)
        found = await here.store.read(
            lambda tx: find(tx, key_id=here.key_id, path=dialect.path, idempotency_key="k-1", at=0)
        )
        if client.headers.get("x-should-retry") == "true":
            assert found.answer is None
            return
        answer = found.answer
        assert (answer.status, dict(answer.headers), answer.body) == (client.status, client.headers, client.body)
        assert answer.stream == stream


@pytest.mark.parametrize(
    ("words_head", "speech_head", "status"),
    [((503, [(b"a", b"\xe9")]), None, 503), (None, (200, [(b"a", b"\xe9")]), 200), (None, None, None)],
)
def test_the_head_that_was_given_is_kept(words_head, speech_head, status):
    """The words' own, or the one that was given before them; without either there is no answer."""
    speech = SimpleNamespace(head=speech_head, told=lambda end: b"body " + end)
    exchange = SimpleNamespace(speech=speech, plan=SimpleNamespace(request=SimpleNamespace(stream=True)))
    answer = kept_answer(exchange, Words(outcome(Ending.COMPLETED), words_head, b"end"))
    if status is None:
        assert answer is None
    else:
        assert (answer.status, answer.headers, answer.body) == (status, (("a", "é"),), b"body end")


def test_what_is_not_told_is_not_kept():
    """A client that is spoken to directly keeps nothing to be told again."""
    speech = SimpleNamespace(head=(200, []), told=lambda end: None)
    exchange = SimpleNamespace(speech=speech, plan=SimpleNamespace(request=SimpleNamespace(stream=True)))
    assert kept_answer(exchange, Words(outcome(Ending.COMPLETED), None, b"end")) is None


@pytest.mark.parametrize(
    ("code", "billed", "expected"),
    [(None, 0, False), ("upstream_timeout", 0, True), ("upstream_timeout", 1, False), ("killed", 0, False)],
)
def test_the_retry_verdict(code, billed, expected):
    """Transient and unbilled; an answer is never asked again."""
    assert may_retry(outcome(Ending.UPSTREAM_ERROR, code, billed)) is expected


def test_which_endings_answer():
    """A whole answer is given for a completed exchange, and for one that a cap ended."""
    assert {ending for ending in Ending if is_answered(outcome(ending))} == {
        Ending.COMPLETED, Ending.SPEND_CAP_EXCEEDED,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        ("killed", "Stop.", "Stop."),
        ("killed", None, CODES["killed"].meaning),
        (None, None, "The gateway failed; report the inference id."),
    ],
)
def test_an_ending_as_an_error(code, message, told):
    """Its own message where it has one, else what its code means."""
    error = error_of(Verdict(Ending.TERMINATED, code, message, retry_after_s=3, param="p"))
    assert (error.code, error.message) == (code or "internal_error", told)
    assert (error.retry_after_s, error.param) == (3, "p")


async def test_a_clients_style(tmp_path, autojump_clock):
    """How caps show is its model's or key's setting; the rest is the exchange's."""
    async with world(tmp_path, "sim", more='finish_reasons = "loud"') as here:
        plan = await plan_of(here, "sim")
        style = style_of(plan, outcome(Ending.UPSTREAM_ERROR, "upstream_timeout"), "inf_1", 5_999_999)
        assert (style.finish_reasons, style.inference_id, style.created) == ("loud", "inf_1", 5)
        assert (style.model, style.retryable) == ("sim", True)


async def test_our_own_fields_are_only_where_they_belong(tmp_path, autojump_clock):
    """`/v1/inference` has them; elsewhere the body goes on untouched."""
    async with world(tmp_path, "sim") as here:
        plan = await plan_of(here, "sim", stream=False)
        told = outcome(Ending.COMPLETED, billed=1_500)
        body = json.dumps({"choices": [{"message": {"content": "x"}}]}).encode()
        assert shaped(plan, body, told, "http://g", "inf_1") is body
        own = json.loads(shaped(attrs.evolve(plan, inference_shape=True), body, told, "http://g", "inf_1"))
        assert (own["content"], own["cost"], own["audit_url"]) == ("x", "0.0000015", "http://g/v1/audit/inf_1")


def test_the_mode_of_a_stream():
    """Wrapped: made of a whole answer."""
    assert [stream_mode(is_wrapped=wrapped)[1] for wrapped in (True, False)] == [b"wrapped", b"native"]
