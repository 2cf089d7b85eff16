"""Receipts: what an account may read of its exchanges."""

import hashlib
import json

import attrs
import pytest

from ainf.inference.moments import rfc3339
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.ledger import Window
from ainf.routing.hint import Hint
from ainf.store.base import EndedAttempt, Progress
from ainf.store.caps import remove_cap, set_cap
from ainf.store.epochs import begin_epoch
from ainf.store.exchanges import record_progress
from ainf.store.receipts import receipt
from ainf.store.sqlite import SQLiteEngine
from tests.store.books import COST, PRICE, Books
from tests.store.old import write_schema_1
from tests.store.routed import PRICES, RULESET, Routed, decision


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
        "spooled": False,
        "inference_id": inference_id,
        "account": "acme",
        "account_id": "acct000001",
        "key_id": key,
        "protocol": "chat_completions",
        "path": "/v1/chat/completions",
        "stream": True,
        "requested_model": "small",
        "router": "direct",
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
        "routing": None,
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
    assert (told["router"], told["routing"]) == (None, None)
    assert told["attempts"][0]["aborted_billing"] is None
    assert told["usage"]["audio_output_tokens"] == told["usage"]["cache_write_tokens"] == 0
    engine.close()


def test_an_open_receipt(books):
    """A running exchange shows its hold and its last durable progress; the keys are those of a settled one."""
    inference_id = books.open(books.key("acme"), worst_tokens=100)
    told = receipt(books.tx, inference_id)
    assert (told["state"], told["ending"], told["settled_nusd"], told["hash"]) == ("open", None, None, None)
    assert (told["usage"]["output_tokens"], told["output_bytes"], told["router"]) == (0, 0, "direct")
    assert told["held_nusd"] == books.sql("SELECT held_nusd FROM holds")[0][0]
    progress = Progress(inference_id, Usage(input_tokens=3, output_tokens=4, cache_write_tokens=2), 5, 16)
    books.run(record_progress, [progress], books.tick())
    running = receipt(books.tx, inference_id)
    assert (running["usage"]["output_tokens"], running["output_bytes"]) == (4, 16)
    assert running["usage"]["cache_write_tokens"] == 2
    assert running["stream"] is True
    books.close(inference_id)
    settled = receipt(books.tx, inference_id)
    assert settled.keys() == running.keys()
    assert settled["attempts"][0].keys() == running["attempts"][0].keys()


def test_the_attempts_of_an_open_receipt(books):
    """Each that was opened, with what was known before its dial, and what became known since: costs and progress."""
    routed = Routed(books)
    inference_id = routed.open(decision())

    def told():
        running = receipt(books.tx, inference_id)
        known = ("model", "upstream_model", "provider", "price_version", "usage", "cost_nusd")
        assert (running["model"], running["price_version"]) == tuple(
            running["attempts"][-1][name] for name in ("model", "price_version")
        )
        return [tuple(line[name] for name in known) for line in running["attempts"]], running["attempts"]

    small = ("small", "small-2026", "small-vendor", PRICES["small"].version)
    large = ("large", "large-2026", "large-vendor", PRICES["large"].version)
    lines, (first,) = told()
    assert lines == [(*small, None, None)]
    assert first["started_at"] == rfc3339(books.at)
    assert {name for name, value in first.items() if value is None} == {
        "status", "error_code", "evidence", "usage", "cost_nusd", "provider_request_id", "response_id",
        "raw_finish_reason", "redials", "aborted_billing", "ended_at",
    }  # fmt: skip
    routed.open_later(inference_id, 2, "large", EndedAttempt(1, 7))
    lines, (_, second) = told()
    assert lines == [(*small, None, 7), (*large, None, None)]
    assert second["started_at"] == rfc3339(books.at)
    usage = Usage(input_tokens=3, output_tokens=4)
    books.run(record_progress, [Progress(inference_id, usage, 5, 16, attempt=2)], books.tick())
    lines, _ = told()
    assert lines == [(*small, None, 7), (*large, attrs.asdict(usage), 5)]
    assert receipt(books.tx, inference_id)["usage"] == attrs.asdict(usage)


def test_a_routed_receipt(books):
    """It tells the decision with every candidate, what became of it, and by what the hash covers it."""
    routed = Routed(books)
    inference_id = routed.fallen_back()
    told = json.loads(json.dumps(receipt(books.tx, inference_id)))
    assert (told["router"], told["requested_model"], told["model"]) == ("fleet", "fleet", "large")
    ((digest, told_by_event),) = books.sql(
        "SELECT json_extract(body, '$.routing.decision_sha256'), hash FROM audit_events WHERE inference_id = ?",
        inference_id,
    )
    candidates = told["routing"].pop("candidates")
    assert told["routing"] == {
        "status": "fell_back",
        "served": 2,
        "decision_sha256": digest,
        "target": "fleet",
        "requested": "fleet",
        "ruleset": RULESET.hash,
        "floor": 500,
        "floor_from": "default",
        "preference": "balanced",
        "hint": {"min_quality": None, "max_cost_nusd": None, "task_type": None},
        "need": {"input_bytes": 4000},
        "ranked": ["small", "large"],
        "unknown_preference": None,
    }
    assert (told["hash"], digest) == (told_by_event, hashlib.sha256(decision().record().encode()).hexdigest())
    assert {one["model"]: (one["fell"], one["quality"], one["cost_nusd"]) for one in candidates} == {
        "weak": ("floor", 300, 3_000_000),
        "small": (None, 600, 6_000_000),
        "large": (None, 900, 24_000_000),
    }


def test_what_a_hint_said_is_on_the_receipt(books):
    """Asked floors, costs, tasks and preferences that are none, as they took effect, while it runs and after."""
    routed = Routed(books)
    decided = decision(Hint(550, 50_000_000, "code", "sweetest"), requested="fleet-auto", large={"quality": 700,
                       "observations": 9})  # fmt: skip
    inference_id = routed.open(decided)
    assert receipt(books.tx, inference_id)["router"] == "fleet"
    running = receipt(books.tx, inference_id)["routing"]
    assert (running["status"], running["served"], running["decision_sha256"]) == (None, None, None)
    assert (running["requested"], running["floor"], running["floor_from"]) == ("fleet-auto", 550, "hint")
    assert running["hint"] == {"min_quality": 550, "max_cost_nusd": 50_000_000, "task_type": "code"}
    assert (running["preference"], running["unknown_preference"]) == ("balanced", "sweetest")
    assert {one["model"]: (one["fell"], one["quality"], one["quality_from"], one["observations"])
            for one in running["candidates"]} == {
        "weak": ("floor", 300, "prior", 0),
        "small": ("floor", 400, "prior", 0),
        "large": (None, 700, "blended", 9),
    }  # fmt: skip
    routed.close(inference_id, "large")
    settled = receipt(books.tx, inference_id)["routing"]
    assert (settled.pop("status"), settled.pop("served")) == ("succeeded", 1)
    assert settled.keys() | {"status", "served"} == running.keys()
    assert all(settled[name] == running[name] for name in settled if name != "decision_sha256")


def test_a_receipt_says_nothing_of_what_is_not_its_keys(books):
    """The target has a model that the key may not use: the account does not learn its name."""
    routed = Routed(books)
    assert decision().barred == ("secret",)
    for inference_id in (routed.open(decision()), routed.answered()):
        assert "secret" not in json.dumps(receipt(books.tx, inference_id))


def test_an_adjusted_receipt(books):
    """What was posted after the settlement stands beside it; the settlement itself does not change."""
    inference_id = books.open(books.key("acme"))
    books.new_epoch("gateway")
    books.abandon(inference_id)
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
