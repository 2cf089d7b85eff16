import json

import pytest

from ainf.simulator import End, Simulator
from tests.simulator.client import exchange
from tests.simulator.formats import FORMATS, MESSAGES, TOOLS, ask

EVERY_FORMAT = pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 502, 503, 529])
async def test_errors_before_the_stream(status, stream):
    """An error comes with its status and the format's error body, and bills nothing."""
    simulator = Simulator()
    taken = await exchange(simulator, f"sim-error-{status}", stream=stream)

    error = json.loads(taken.body)["error"]
    assert taken.status == status
    assert set(error) == {"message", "type", "param", "code"}
    assert taken.headers.get("retry-after") == ("2" if status == 429 else None)
    entry = simulator.books.entries[0]
    assert (entry.billed_input_tokens, entry.billed_output_tokens, entry.status) == (0, 0, status)


@EVERY_FORMAT
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 503, 529, 599])
async def test_errors_in_every_format(format_, status):
    """Each format answers with the status, a message in its own error body, and bills nothing."""
    simulator = Simulator()
    taken = await ask(format_, f"sim-error-{status}", simulator=simulator)

    assert taken.status == status
    assert json.loads(taken.body)["error"]["message"]
    assert simulator.books.totals().billed_input_tokens == 0


@EVERY_FORMAT
async def test_an_overloaded_provider_has_its_own_status(format_):
    """Overload is 529 in messages and 503 elsewhere."""
    assert (await ask(format_, "sim-overloaded")).status == (529 if format_ is MESSAGES else 503)


@EVERY_FORMAT
@pytest.mark.parametrize(
    ("model", "asked", "status"),
    [
        ("sim-no-tools", {"functions": TOOLS}, 400),
        ("sim-no-tools", {}, 200),
        ("sim-no-stream", {"stream": True}, 400),
        ("sim-no-stream", {"stream": False}, 200),
    ],
)
async def test_a_model_may_lack_tools_or_streams(format_, model, asked, status):
    """What the model cannot do is refused by name and billed nothing; all else is answered."""
    simulator = Simulator()
    taken = await ask(format_, model, simulator=simulator, **asked)

    assert taken.status == status
    assert (simulator.books.totals().billed_input_tokens > 0) == (status == 200)
    if status == 400:
        assert ("tools" if "tools" in model else "stream") in json.loads(taken.body)["error"]["message"]


async def test_html_errors_hold_what_must_not_leak():
    """A 500 may be HTML with a trace, a host and a key."""
    taken = await exchange(Simulator(), "sim-error-500-html")

    assert taken.headers["content-type"].startswith("text/html")
    assert b"Traceback" in taken.body
    assert b"gpu-17.internal.example" in taken.body


async def test_retry_after_is_what_the_name_says():
    """Any word can stand as retry-after."""
    taken = await exchange(Simulator(), "sim-error-503-retry-after-1000000000000")
    assert taken.headers["retry-after"] == "1000000000000"


async def test_errors_can_be_late_and_slow(autojump_clock):
    """Delay and drip hold for an error too: a second's wait, then a byte each ten milliseconds."""
    simulator = Simulator()
    taken = await exchange(simulator, "sim-error-500-delay-1s-drip-every-10ms")
    entry = simulator.books.entries[0]

    assert taken.status == 500
    assert entry.ended_at - entry.received_at == pytest.approx(1 + 0.01 * (len(taken.raw) - 1))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 304])
async def test_redirects(status):
    """A redirect names a place that must not be visited."""
    taken = await exchange(Simulator(), f"sim-redirect-{status}")
    assert (taken.status, taken.headers["location"].startswith("http://elsewhere.invalid")) == (status, True)


@pytest.mark.parametrize(
    ("model", "begins", "ends"),
    [
        ("sim-not-http", b"SSH-2.0", b"looking for\r\n"),
        ("sim-bad-status-line", b"HTTP/1.1 two-hundred", b"{}"),
        ("sim-tls-bytes", b"\x15\x03\x01", b"\x28"),
        ("sim-html-200", b"HTTP/1.1 200 OK\r\ncontent-type: text/html", b"</html>\n"),
        ("sim-binary-200", b"HTTP/1.1 200 OK\r\n", b"\xfe\xff"),
        ("sim-empty-200", b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 0\r\n", b"\r\n\r\n"),
        ("sim-empty-stream", b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream", b"\r\n\r\n0\r\n\r\n"),
        ("sim-status-204", b"HTTP/1.1 204 No Content\r\n", b"\r\n\r\n"),
        ("sim-two-lengths", b"HTTP/1.1 200 OK\r\n", b"{}"),
        ("sim-huge-header", b"HTTP/1.1 200 OK\r\n", b"{}"),
    ],
)
async def test_whole_answers_that_are_none(model, begins, ends):
    """The bytes are what the name says, and no output is billed."""
    simulator = Simulator()
    taken = await exchange(simulator, model)

    assert taken.end == "eof"
    assert taken.raw.startswith(begins)
    assert taken.raw.endswith(ends)
    assert simulator.books.totals().billed_input_tokens == simulator.books.totals().billed_output_tokens == 0
    assert simulator.books.entries[0].end in {End.COMPLETED, End.CLOSED}


async def test_the_two_broken_heads_are_broken():
    """Two lengths differ, and the huge header is 200 KB."""
    two = await exchange(Simulator(), "sim-two-lengths")
    huge = await exchange(Simulator(), "sim-huge-header")

    assert two.head.count("content-length") == 2
    assert len(huge.head) > 200_000
