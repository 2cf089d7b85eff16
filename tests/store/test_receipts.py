"""Receipts: what an account may read of its exchanges."""

import pytest

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.store.base import Progress
from ainf.store.exchanges import record_progress
from ainf.store.receipts import receipt, rfc3339
from ainf.store.recovery import abandon
from tests.store.books import COST, PRICE, Books


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
            "started_at": "2023-11-14T22:13:20.003500Z",
            "ended_at": "2023-11-14T22:13:20.003900Z",
        }
    ]


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


def test_times_are_exact():
    """A time keeps its microseconds, where a float of seconds would not."""
    assert rfc3339(1_700_000_000_123_457) == "2023-11-14T22:13:20.123457Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"
