"""Receipts: what an account may read of its exchanges."""

import pytest

from ainf.inference.moments import rfc3339
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.ledger import Window
from ainf.store.base import Progress
from ainf.store.caps import remove_cap, set_cap
from ainf.store.epochs import begin_epoch
from ainf.store.exchanges import record_progress
from ainf.store.receipts import receipt
from ainf.store.recovery import abandon
from ainf.store.sqlite import SQLiteEngine
from tests.store.books import COST, PRICE, Books
from tests.store.old import write_schema_1


@pytest.fixture
def books(tmp_path):
    books = Books(tmp_path)
    books.account("acme")
    return books


def test_a_settled_receipt(books):
    """It has everything that the end decided, its attempts, and its place in the audit chain."""
    key = books.key("acme")
    inference_id = books.open(key)
    settlement = books.close(inference_id)
    told = receipt(books.tx, inference_id)
    attempt = told.pop("attempts")
    assert told == {
        "state": "settled",
        "inference_id": inference_id,
        "account": "acme",
        "account_id": "acct000001",
        "key_id": key,
        "protocol": "chat_completions",
        "path": "/v1/chat/completions",
        "stream": True,
        "requested_model": "small",
        "model": "small",
        "provider": "openai",
        "ending": "completed",
        "error_code": None,
        "finish_reason": "stop",
        "evidence": "reported",
        "usage": {
            "input_tokens": 100,
            "cached_input_tokens": 40,
            "output_tokens": 50,
            "reasoning_tokens": 5,
            "cache_write_tokens": 30,
            "long_cache_write_tokens": 10,
            "audio_input_tokens": 0,
            "audio_output_tokens": 0,
        },
        "held_nusd": settlement.held_nusd,
        "settled_nusd": COST,
        "released_nusd": settlement.held_nusd - COST,
        "overrun_nusd": 0,
        "output_bytes": 200,
        "received_bytes": 200,
        "price_version": PRICE.version,
        "clamp_tokens": None,
        "labels": {"run": "r1"},
        "notes": {"broken_frames": 1},
        "retry_of": None,
        "is_empty": False,
        "caps": [],
        "adjustments": [],
        "opened_at": "2023-11-14T22:13:20.003000Z",
        "settled_at": "2023-11-14T22:13:20.004000Z",
        "hash": settlement.hash,
        "prev_hash": settlement.prev_hash,
    }
    assert attempt == [
        {
            "model": "small",
            "upstream_model": "small-2026",
            "provider": "openai",
            "status": 200,
            "error_code": None,
            "evidence": "reported",
            "usage": told["usage"],
            "cost_nusd": COST,
            "price_version": PRICE.version,
            "provider_request_id": "req-1",
            "response_id": "chatcmpl-1",
            "raw_finish_reason": "stop",
            "redials": 0,
            "aborted_billing": None,
            "started_at": "2023-11-14T22:13:20.003500Z",
            "ended_at": "2023-11-14T22:13:20.003900Z",
        }
    ]


def test_the_caps_of_a_receipt(books):
    """It says on which caps and windows the exchange counts, open and settled alike, also when one was removed."""
    key = books.key("acme")
    books.cap(1_000_000_000, key_id=key)
    scope = books.scope(Window.DAY, "sm*", account="acme")
    books.run(set_cap, cap_id="daily", scope=scope, limit_nusd=1_000_000_000, at=books.tick())
    inference_id = books.open(key)
    books.run(remove_cap, scope=scope, at=books.tick())
    running = receipt(books.tx, inference_id)["caps"]
    books.close(inference_id)
    told = receipt(books.tx, inference_id)["caps"]
    assert told == running
    assert sorted(told, key=lambda cap: cap["window"]) == [
        {"cap_id": "daily", "kind": "cap", "of": "account acme", "window": "day", "model": "sm*",
         "window_start": "2023-11-14T00:00:00.000000Z"},
        {"cap_id": "cap000003", "kind": "cap", "of": f"key {key}", "window": "lifetime", "model": "*",
         "window_start": None},
    ]  # fmt: skip


def test_the_receipt_of_a_retry(books):
    """It names the exchange that it asked again, and says where it is charged and nothing came."""
    key = books.key("acme")
    first = books.open(key)
    books.close(first, received_bytes=0, output_bytes=0)
    second = books.open(key)
    books.close(second)
    assert (receipt(books.tx, first)["retry_of"], receipt(books.tx, first)["is_empty"]) == (None, True)
    assert (receipt(books.tx, second)["retry_of"], receipt(books.tx, second)["is_empty"]) == (first, False)


def test_an_event_of_an_older_version(tmp_path):
    """What was not yet written down when it closed is told as none."""
    engine = SQLiteEngine.open(write_schema_1(tmp_path))
    tx = begin_epoch(engine, "gateway", 1_700_000_100_000_000)
    (inference_id, body), *_ = engine.execute(
        "SELECT inference_id, body FROM audit_events WHERE kind = 'inference.closed' AND body LIKE '%status%'"
    )
    assert "retry_of" not in body
    told = receipt(tx, inference_id)
    assert (told["retry_of"], told["is_empty"]) == (None, False)
    assert told["attempts"][0]["aborted_billing"] is None
    assert told["usage"]["audio_output_tokens"] == told["usage"]["cache_write_tokens"] == 0
    engine.close()


def test_an_open_receipt(books):
    """A running exchange shows its hold and its last durable progress; the keys are those of a settled one."""
    inference_id = books.open(books.key("acme"), worst_tokens=100)
    told = receipt(books.tx, inference_id)
    assert (told["state"], told["ending"], told["settled_nusd"], told["hash"]) == ("open", None, None, None)
    assert (told["usage"]["output_tokens"], told["output_bytes"], told["attempts"]) == (0, 0, [])
    assert told["held_nusd"] == books.sql("SELECT held_nusd FROM holds")[0][0]
    progress = Progress(inference_id, Usage(input_tokens=3, output_tokens=4, cache_write_tokens=2), 5, 16)
    books.run(record_progress, [progress], books.tick())
    running = receipt(books.tx, inference_id)
    assert (running["usage"]["output_tokens"], running["output_bytes"]) == (4, 16)
    assert running["usage"]["cache_write_tokens"] == 2
    assert running["stream"] is True
    books.close(inference_id)
    assert receipt(books.tx, inference_id).keys() == running.keys()


def test_an_adjusted_receipt(books):
    """What was posted after the settlement stands beside it; the settlement itself does not change."""
    inference_id = books.open(books.key("acme"))
    books.new_epoch("gateway")
    books.run(abandon, inference_id, books.tick())
    abandoned = receipt(books.tx, inference_id)
    books.close(inference_id, ending=Ending.CLIENT_DISCONNECTED, evidence=Evidence.METERED)
    told = receipt(books.tx, inference_id)
    (adjustment,) = told.pop("adjustments")
    assert told == {name: value for name, value in abandoned.items() if name != "adjustments"}
    assert told["ending"] == "abandoned"
    assert adjustment == {"amount_nusd": COST - told["settled_nusd"], "at": rfc3339(books.at)}


def test_no_receipt(books):
    """What was never opened has none."""
    assert receipt(books.tx, "none") is None
