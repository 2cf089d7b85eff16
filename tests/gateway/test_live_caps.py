"""Many streams against one cap that cannot pay for them: never passed, nearly all of it used, all of it explained."""

import json

import attrs
import pytest
import trio

from ainf.simulator import Entry, Simulator
from tests.extent import FULL
from tests.gateway.backends import INPUT_RATE, OUTPUT_RATE
from tests.gateway.live import Live, live
from tests.gateway.live_client import Answer, RawClient, eventually, finish_reasons
from tests.gateway.world import question

STREAMS = 200
PAID_FOR = 20
TOKENS = 2000 if FULL else 500
MODEL = f"sim-tokens-{TOKENS}-per-frame-4-pace-20ms"
SLICE_TOKENS = 16
INPUT_TOKENS = 11
CAP_NUSD = PAID_FOR * (TOKENS * OUTPUT_RATE + INPUT_TOKENS * INPUT_RATE)
TOKEN_BYTES = 4


@attrs.define
class Sums:
    """Output tokens over all streams, from the books of either side."""

    produced: int = 0
    settled: int = 0
    undelivered: int = 0
    in_sockets: int = 0
    unwritten: int = 0


def explain(sums: Sums, receipt: dict, entry: Entry, taken: Answer) -> None:
    """Add one stream, after checking that its two books differ by nothing that is not accounted for."""
    written = text_bytes(bytes(entry.written)) // TOKEN_BYTES
    received_bytes = receipt["received_bytes"]
    assert received_bytes % TOKEN_BYTES == 0
    received, delivered = received_bytes // TOKEN_BYTES, receipt["output_bytes"] // TOKEN_BYTES
    settled = receipt["usage"]["output_tokens"]
    assert len(taken.text) == receipt["output_bytes"], "the receipt says what the client got"
    assert delivered <= settled <= received <= written <= entry.output_tokens
    assert entry.billed_output_tokens == entry.output_tokens
    assert receipt["settled_nusd"] == settled * OUTPUT_RATE + receipt["usage"]["input_tokens"] * INPUT_RATE
    if receipt["evidence"] == "reported":
        assert settled == entry.output_tokens
    sums.produced += entry.output_tokens
    sums.settled += settled
    sums.undelivered += received - settled
    sums.in_sockets += written - received
    sums.unwritten += entry.output_tokens - written


def text_bytes(raw: bytes) -> int:
    """The bytes of text in what the simulator wrote, whole frames only."""
    payloads = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: {") and line.endswith(b"}")]
    deltas = [choice["delta"] for payload in payloads for choice in json.loads(payload)["choices"]]
    return sum(len(delta.get("content") or "") for delta in deltas)


async def highest_total(here: Live) -> int:
    """Replay the ledger: the most that the cap's total was at any entry."""
    held = settled = highest = 0
    for kind, amount in await here.rows("SELECT kind, amount_nusd FROM entries ORDER BY seq"):
        if kind in {"hold", "extend"}:
            held += amount
            highest = max(highest, held + settled)
        else:
            held -= amount
            settled += amount if kind == "settle" else 0
            assert kind in {"settle", "release"}, "nothing was billed beyond its hold"
        assert held >= 0
    assert held == 0
    return highest


@attrs.define
class Crowd:
    """What the clients of many streams got."""

    answers: dict[str, Answer] = attrs.field(factory=dict)
    """By inference id."""
    refused: list[Answer] = attrs.field(factory=list)

    async def stream(self, here: Live, client: RawClient) -> None:
        await client.send(here.request(question(MODEL)))
        taken = await client.take()
        if taken.status == 200:
            self.answers[taken.headers["x-ainf-inference-id"]] = taken
        else:
            self.refused.append(taken)


@pytest.mark.law
@pytest.mark.threat(55, 56)
async def test_two_hundred_streams_use_a_cap_for_twenty_to_its_end_and_never_pass_it(tmp_path, tell):
    """The cap holds at every entry, 98 % of it is used, the cut streams say so, and both books agree to the token."""
    more = f"slice_tokens = {SLICE_TOKENS}\nmin_output_tokens = 1"
    crowd = Crowd()
    async with live(tmp_path, MODEL, more=more, simulator=Simulator(keep_bytes=True)) as here:
        await here.set_cap(CAP_NUSD)
        clients = [await here.connect() for _ in range(STREAMS)]
        started_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(crowd.stream, here, client)
        took_s = trio.current_time() - started_at
        with trio.fail_after(5):
            await eventually(lambda: all(entry.ended_at is not None for entry in here.simulator.books.entries))
        receipts = await here.receipts()
        highest = await highest_total(here)

    entries = {entry.headers["x-client-request-id"]: entry for entry in here.simulator.books.entries}
    sums = Sums()
    for receipt in receipts:
        taken = crowd.answers[receipt["inference_id"]]
        assert taken.whole
        assert finish_reasons(taken) == [{"completed": "stop"}.get(receipt["ending"], receipt["ending"])]
        explain(sums, receipt, entries[receipt["inference_id"]], taken)
    used = sum(receipt["settled_nusd"] for receipt in receipts)
    cut = sum(receipt["ending"] == "spend_cap_exceeded" for receipt in receipts)
    tell(
        f"{len(receipts)} streams ran, {cut} were cut, {len(crowd.refused)} refused, in {took_s:.1f} s; used"
        f" {100 * used / CAP_NUSD:.2f} % of the cap, at most {100 * highest / CAP_NUSD:.2f} % settled and held; {sums}"
    )
    billed = here.simulator.books.totals().billed_output_tokens
    assert billed == sums.settled + sums.undelivered + sums.in_sockets + sums.unwritten
    assert all((taken.status, taken.headers["x-should-retry"]) == (402, "false") for taken in crowd.refused)
    assert len(receipts) + len(crowd.refused) == STREAMS
    assert cut > PAID_FOR
    assert highest <= CAP_NUSD
    assert 0.98 * CAP_NUSD <= used <= CAP_NUSD
