"""A client that retries three times on an empty answer, as agent frameworks do, run over every fault of the provider.

It is the client of the failures for which this gateway was made: a stream request that was answered with a JSON body,
or with nothing, was read as an empty answer, asked again three times, and billed each time.
"""

import json

import attrs
import trio

from ainf.simulator import Entry, Simulator
from tests.gateway.backends import INPUT_RATE, OUTPUT_RATE
from tests.gateway.live import Live, live
from tests.gateway.live_client import Answer

TRIES = 3
PATIENCE_S = 1.0
AT_ONCE = 8

BREAKS = ("before-head", "after-head", "after-5", "after-finish", "after-usage")

BROKEN = (
    # errors before the stream
    "sim-error-400", "sim-error-401", "sim-error-402", "sim-error-403", "sim-error-404", "sim-error-408",
    "sim-error-429", "sim-error-500", "sim-error-500-html", "sim-error-503", "sim-error-503-retry-after-0",
    "sim-redirect-302", "sim-redirect-307",
    # endings that break off
    *(f"sim-{fault}-{point}" for fault in ("reset", "close") for point in BREAKS),
    *(f"sim-eof-{point}" for point in BREAKS[1:]),
    "sim-cut-chunk-after-5", "sim-cut-json-after-5", "sim-cut-length",
    "sim-error-first", "sim-error-after-5", "sim-error-string-after-5", "sim-error-event-after-5",
    # bytes that are wrong
    "sim-broken-json-1", "sim-broken-json-9", "sim-done-only", "sim-content-after-finish", "sim-data-after-done",
    "sim-endless-line", "sim-ndjson", "sim-gzip", "sim-two-finishes",
    # whole answers that are no answer
    "sim-not-http", "sim-bad-status-line", "sim-tls-bytes", "sim-html-200", "sim-binary-200", "sim-empty-200",
    "sim-empty-stream", "sim-status-204", "sim-two-lengths", "sim-huge-header", "sim-tokens-0",
)  # fmt: skip
SILENT = (*(f"sim-stall-{point}" for point in BREAKS), "sim-stall-mid-after-5", "sim-endless-comments")
SOUND = (
    # odd, but an answer, in either mode
    "sim", "sim-json-for-sse", "sim-sse-for-json", "sim-type-json", "sim-type-text", "sim-type-html", "sim-no-type",
    "sim-comments", "sim-pings", "sim-crlf", "sim-multi-data", "sim-unknown-fields", "sim-finish-with-content",
    "sim-no-done", "sim-drip-tokens-2", "sim-finish-banana", "sim-refusal", "sim-reasoning-5",
    "sim-hidden-reasoning-5", "sim-tokens-1", "sim-invalid-utf8",
    # usage that is none, or a lie
    "sim-no-usage", "sim-usage-twice", "sim-usage-in-finish", "sim-usage-negative", "sim-usage-huge",
    "sim-usage-float", "sim-usage-string", "sim-usage-absurd", "sim-usage-null", "sim-usage-bool", "sim-usage-list",
    "sim-usage-zero", "sim-usage-nan",
)  # fmt: skip
FAULTS = (*BROKEN, *SOUND, *SILENT)


@attrs.frozen
class Try:
    """One request of the retrier: the answer, what of it reads as content, and whether it was told of a failure."""

    taken: Answer
    content: str
    finish_reason: str | None
    failed: bool

    @property
    def is_empty_success(self) -> bool:
        return not self.failed and not self.content


def read_answer(taken: Answer, *, stream: bool) -> Try:
    """Read an answer as SDKs do: a status, an error object, or a connection that breaks off is a failure."""
    if taken.status != 200:
        assert json.loads(taken.body)["error"]["code"]
        return Try(taken, "", None, failed=True)
    assert taken.whole, "an admitted exchange ended without its terminal frame"
    if not stream:
        assert taken.headers["content-type"] == "application/json"
        document = json.loads(taken.body)
        (choice,) = document["choices"]
        return Try(taken, content_of(choice["message"]), choice["finish_reason"], failed="error" in document)
    assert taken.headers["content-type"].startswith("text/event-stream"), "stream: true was answered with JSON"
    assert taken.body.rstrip().endswith(b"data: [DONE]")
    content, finish, failed = "", None, False
    for payload in payloads(taken.body):
        try:
            document = json.loads(payload.decode(errors="replace"))
        except ValueError:
            continue
        failed |= "error" in document
        for choice in document.get("choices") or ():
            assert finish is None, "content behind the end"
            content += content_of(choice["delta"])
            finish = choice.get("finish_reason")
    return Try(taken, content, finish, failed)


def payloads(body: bytes) -> list[bytes]:
    """The data of each event up to the end marker, by the rules of event streams."""
    found = []
    for event in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        lines = [line.partition(b":")[2].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data")]
        data = b"\n".join(lines)
        if data == b"[DONE]":
            break
        if data:
            found.append(data)
    return found


def content_of(said: dict) -> str:
    text = "".join(said.get(name) or "" for name in ("content", "refusal", "reasoning_content"))
    calls = said.get("tool_calls") or ()
    return text + "".join(call["function"].get("arguments") or "" for call in calls)


async def retry(here: Live, model: str, *, stream: bool) -> list[Try]:
    """Ask until there is content or a final refusal, three times at most; obey the retry verdict."""
    tries = []
    for _ in range(TRIES):
        tries.append(read_answer(await here.ask(model, stream=stream), stream=stream))
        said = tries[-1]
        if said.content or said.taken.headers.get("x-should-retry") == "false":
            break
    return tries


# What begins like an answer to the simulator, and is no HTTP to anybody else.
NO_STATUS_LINE = {"sim-not-http", "sim-bad-status-line", "sim-tls-bytes"}


def check_bill(receipt: dict, entry: Entry | None, said: Try) -> None:
    """The bill is what was delivered: nothing before a 200 head, else reported usage, or input and metered output."""
    billed = receipt["settled_nusd"] + receipt["overrun_nusd"]
    usage = receipt["usage"]
    if entry is None or entry.status != 200 or entry.model in NO_STATUS_LINE:
        assert billed == 0
        return
    assert receipt["attempts"][0]["status"] == 200
    fresh = usage["input_tokens"] - usage["cached_input_tokens"]
    assert billed == fresh * INPUT_RATE + usage["cached_input_tokens"] * INPUT_RATE // 2 + (
        usage["output_tokens"] * OUTPUT_RATE
    )
    if receipt["evidence"] == "reported":
        assert receipt["ending"] == "completed"
        behind_the_end = receipt["stream"] and entry.model == "sim-data-after-done"
        assert usage["output_tokens"] == entry.billed_output_tokens - behind_the_end
        return
    content = len(said.content.encode())
    if "opaque_frames" in receipt["notes"]:
        # What nobody can read is counted by its bytes.
        assert usage["output_tokens"] >= tokens(content)
    elif receipt["stream"]:
        received = receipt["received_bytes"]
        assert usage["output_tokens"] == tokens(received if said.failed else content)
        assert content <= received <= entry.text_bytes
    else:
        assert usage["output_tokens"] == tokens(content)


def tokens(size: int) -> int:
    return -(-size // 4)


async def run_over(tmp_path, tell, *, stream: bool) -> None:
    clocks = f"silence_s = {PATIENCE_S}\nfirst_byte_s = {PATIENCE_S}\nexchange_s = {2 * PATIENCE_S}\ntail_s = 0.1\n"
    limits = clocks + "sse_line_bytes = 65536\nprelude_bytes = 16384"
    simulator = Simulator()
    asked: dict[str, list[Try]] = {}

    async with live(tmp_path, *FAULTS, limits=limits, simulator=simulator) as here:

        async def over(model: str) -> None:
            asked[model] = await retry(here, model, stream=stream)

        quick = (*BROKEN, *SOUND)
        for batch in (*(quick[at : at + AT_ONCE] for at in range(0, len(quick), AT_ONCE)), SILENT):
            async with trio.open_nursery() as nursery:
                for model in batch:
                    nursery.start_soon(over, model)
        receipts = {receipt["inference_id"]: receipt for receipt in await here.receipts()}
        entries = {entry.headers["x-client-request-id"]: entry for entry in simulator.books.entries}

    wrong = []
    for model, tries in asked.items():
        for said in tries:
            inference_id = said.taken.headers["x-ainf-inference-id"]
            receipt, entry = receipts.pop(inference_id), entries.get(inference_id)
            try:
                check_try(receipt, entry, said)
            except AssertionError as error:
                wrong.append((model, str(error)[:300], receipt["ending"], receipt["error_code"], receipt["usage"]))
        if model in SOUND and not tries[-1].content:
            wrong.append((model, "has no content"))
    requests = sum(len(tries) for tries in asked.values())
    answered = sum(bool(tries[-1].content) for tries in asked.values())
    tell(f"stream={stream}: {len(asked)} behaviours, {requests} requests, {answered} answers with content")
    assert not wrong, "\n".join(map(str, wrong))
    assert not receipts, "exchanges that nobody asked for"


def check_try(receipt: dict, entry: Entry | None, said: Try) -> None:
    nothing_was_said = entry is not None and entry.status == 200 and not entry.text_bytes
    assert not said.is_empty_success or nothing_was_said, "an empty success"
    assert said.failed == (receipt["ending"] != "completed")
    check_bill(receipt, entry, said)
    if said.taken.status != 200 and receipt["settled_nusd"]:
        assert said.taken.headers["x-should-retry"] == "false", "a retry was asked for what is billed"


async def test_no_streamed_request_is_answered_with_an_empty_success_and_the_bill_is_what_was_delivered(tmp_path, tell):
    """Over every fault of a provider, streamed."""
    await run_over(tmp_path, tell, stream=True)


async def test_no_whole_request_is_answered_with_an_empty_success_and_the_bill_is_what_was_delivered(tmp_path, tell):
    """Over every fault of a provider, not streamed."""
    await run_over(tmp_path, tell, stream=False)
