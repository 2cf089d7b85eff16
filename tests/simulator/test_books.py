import base64
import json

from ainf.simulator import Books, End, Simulator
from tests.simulator.client import exchange, request_bytes, send


async def test_totals_add_up():
    """Totals are the sums of the entries, by end."""
    simulator = Simulator()
    for model in ("sim", "sim-tokens-7", "sim-error-500", "sim-reset-after-2", "sim-nonsense"):
        await exchange(simulator, model)
    totals, entries = simulator.books.totals(), simulator.books.entries

    assert (totals.requests, totals.completed, totals.cancelled, totals.other_ends, totals.open) == (5, 4, 0, 1, 0)
    assert totals.billed_output_tokens == 29 == sum(entry.billed_output_tokens for entry in entries)
    assert totals.billed_input_tokens == 12
    assert totals.text_bytes == 4 * 29
    assert totals.wire_bytes == sum(entry.wire_bytes for entry in entries)


async def test_facts_of_a_request():
    """An entry has the parsed facts and the telling headers; the credential only as a digest."""
    simulator = Simulator(keep_bytes=True)
    headers = ["authorization: Bearer sk-secret", "x-ainf-inference-id: inf_1", "cookie: private"]
    raw = request_bytes("sim-tokens-3", max_tokens=9, headers=headers)
    taken = await send(simulator, raw)
    entry = simulator.books.entries[0]

    assert (entry.number, entry.method, entry.path) == (1, "POST", "/v1/chat/completions")
    assert (entry.model, entry.stream, entry.max_tokens, entry.input_tokens) == ("sim-tokens-3", True, 9, 4)
    assert entry.headers == {"x-ainf-inference-id": "inf_1", "content-type": "application/json"}
    assert len(entry.authorization_sha256) == 16
    assert raw.endswith(entry.request_body)
    assert bytes(entry.written) == taken.raw
    assert "sk-secret" not in repr(entry) + json.dumps(simulator.books.as_json())


async def test_every_credential_is_a_digest():
    """The key counts in whichever header it stands, and never as itself; headers of versions are kept."""
    simulator = Simulator()
    for header in ("authorization: Bearer sk-secret", "x-api-key: sk-secret", "x-goog-api-key: sk-secret"):
        await exchange(simulator, headers=[header, "anthropic-version: 2023-06-01"])

    bearer, *keys = [entry.authorization_sha256 for entry in simulator.books.entries]
    assert keys[0] == keys[1] != bearer
    assert {entry.headers["anthropic-version"] for entry in simulator.books.entries} == {"2023-06-01"}
    assert "sk-secret" not in json.dumps(simulator.books.as_json())


async def test_books_are_json():
    """The dump holds every entry with its bill, and kept bytes in base64."""
    simulator = Simulator(keep_bytes=True)
    taken = await exchange(simulator, "sim-tokens-3", stream=False)
    dump = json.loads(json.dumps(simulator.books.as_json()))

    assert dump["entries"][0]["billed_output_tokens"] == 3
    assert dump["entries"][0]["end"] == "completed"
    assert base64.b64decode(dump["entries"][0]["written"]) == taken.raw
    assert dump["totals"]["requests"] == 1


def test_old_entries_are_folded():
    """Over the bound the oldest entry is forgotten, its sums are not."""
    books = Books(max_entries=2)
    for _ in range(5):
        entry = books.open_entry(now=0.0, method="POST", path="/", headers={}, body=b"")
        entry.output_tokens = 10
        entry.end = End.COMPLETED

    assert [entry.number for entry in books.entries] == [4, 5]
    assert books.totals().completed == 5
    assert books.totals().billed_output_tokens == 50


def test_cleared_books_are_new():
    """Clearing forgets entries, sums and the count."""
    books = Books(max_entries=1)
    for _ in range(2):
        books.open_entry(now=0.0, method="POST", path="/", headers={}, body=b"")
    books.clear()

    assert books.totals().requests == 0
    assert books.open_entry(now=0.0, method="GET", path="/", headers={}, body=b"").number == 1
