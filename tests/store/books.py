"""A small set of books in a real SQLite file, kept with the store's own operations: what its readers are tested on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.ledger import HoldAsk, Window
from ainf.pricing import Price, cost
from ainf.store.admin import create_account, create_key, digest_of, key_text
from ainf.store.base import AttemptPlan, AttemptResult, Closing, Extended, Extension, Opened, Opening, Settlement
from ainf.store.caps import set_cap, subject_of
from ainf.store.counting import Scope
from ainf.store.epochs import begin_epoch
from ainf.store.exchanges import extend_hold, open_inference
from ainf.store.invariants import Query
from ainf.store.recovery import abandon, fence_dead
from ainf.store.rights import KeyRights
from ainf.store.settling import close_inference
from ainf.store.sqlite import SQLiteEngine
from ainf.store.transaction import Transaction

START = 1_700_000_000_000_000
PRICE = Price(
    input=150_000_000, cached_input=75_000_000, output=600_000_000, reasoning=600_000_000, request=10,
    cache_write=187_500_000, long_cache_write=300_000_000,
)  # fmt: skip
USAGE = Usage(
    input_tokens=100, cached_input_tokens=40, output_tokens=50, reasoning_tokens=5, cache_write_tokens=30,
    long_cache_write_tokens=10,
)  # fmt: skip
COST = cost(PRICE, USAGE)
SECRET = bytes(range(25))
_FAILED = "upstream_error", "error"
# What goes with an ending that is no failure: its error code and its finish reason.
_TOLD = {
    Ending.COMPLETED: (None, "stop"),
    Ending.SPEND_CAP_EXCEEDED: ("spend_cap_exceeded", "spend_cap_exceeded"),
    Ending.CLIENT_DISCONNECTED: (None, None),
}


class Books:
    """One writer over a database file; each call commits."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "ainf.db")
        self.engine = SQLiteEngine.open(self.path)
        self.at = START
        self.tx: Transaction = begin_epoch(self.engine, "gateway", self.at)
        self._ids = 0

    def new_epoch(self, kind: str = "command") -> None:
        """Go on as another process would."""
        self.tx = begin_epoch(self.engine, kind, self.tick())

    def abandon(self, inference_id: str) -> None:
        """Close what an earlier process left open."""
        self.run(fence_dead, self.tick())
        self.run(abandon, inference_id, self.tick())

    def tick(self) -> int:
        self.at += 1_000
        return self.at

    def new_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}{self._ids:06d}"

    def run(self, operation: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Run an operation in a transaction of its own."""
        self.engine.begin()
        head = self.tx.head
        try:
            result = operation(self.tx, *args, **named)
        except BaseException:
            self.engine.rollback()
            self.tx.rewind(head)
            raise
        self.engine.commit()
        return result

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.engine.execute(statement, parameters)

    def check_columns(self, query: Query) -> None:
        """A query runs, finds nothing in these books, and has as many columns as it names."""
        marks = ", ".join("?" * len(query.columns))
        union = f"SELECT * FROM ({query.sql}) UNION ALL VALUES ({marks})"
        assert self.sql(union, *query.columns) == [query.columns]

    def account(self, name: str, parent: str | None = None) -> str:
        account_id = self.new_id("acct")
        self.run(create_account, account_id=account_id, name=name, parent=parent, at=self.tick())
        return account_id

    def key(self, account: str, rights: KeyRights | None = None) -> str:
        key_id = self.new_id("keyid")
        digest = digest_of(key_text(key_id, SECRET))
        rights = rights or KeyRights()
        self.run(create_key, key_id=key_id, digest=digest, account=account, rights=rights, at=self.tick())
        return key_id

    def cap(self, limit: int, **whose: str) -> str:
        cap_id = self.new_id("cap")
        return self.run(set_cap, cap_id=cap_id, scope=self.scope(**whose), limit_nusd=limit, at=self.tick())

    def scope(self, window: Window = Window.LIFETIME, model: str = "*", **whose: str) -> Scope:
        return Scope(subject_of(self.tx, **whose), window, model)

    def open(
        self, key_id: str, *, base: int = 50_000, first_tokens: int = 100, worst_tokens: int = 1000, **changes: Any
    ) -> str:
        """Open an exchange; ``changes`` are fields of the opening."""
        inference_id = self.new_id("inf")
        ask = HoldAsk(base, PRICE.dearest_output(200), first_tokens, worst_tokens, min(16, worst_tokens))
        opening = Opening(
            inference_id=inference_id,
            at=self.tick(),
            key_id=key_id,
            protocol="chat_completions",
            path="/v1/chat/completions",
            stream=True,
            requested_model="small",
            attempt=AttemptPlan("small", "small-2026", "openai", PRICE),
            ask=ask,
            input_bytes=400,
            input_tokens_estimate=200,
            fingerprint=b"\x01" * 16,
            sdk_retry_count=0,
            labels={"run": "r1"},
        )
        opened: Opened = self.run(open_inference, attrs.evolve(opening, **changes))
        assert opened.held_nusd
        return inference_id

    def extend(self, inference_id: str, want: int, attempt: int = 1) -> int:
        extended: Extended = self.run(extend_hold, Extension(inference_id, self.tick(), want, 1, attempt=attempt))
        return extended.granted_nusd

    def close(self, inference_id: str, **changes: Any) -> Settlement:
        """Close an exchange as completed at the provider's usage; ``changes`` are fields of the closing."""
        at = self.tick()
        amount = changes.get("cost_nusd", COST)
        attempt = AttemptResult(
            model="small",
            upstream_model="small-2026",
            provider="openai",
            price_version=PRICE.version,
            started_at=at - 500,
            ended_at=at - 100,
            status=200,
            error_code=None,
            provider_request_id="req-1",
            response_id="chatcmpl-1",
            raw_usage='{"prompt_tokens":100}',
            raw_finish_reason="stop",
            usage=changes.get("usage", USAGE),
            evidence=changes.get("evidence", Evidence.REPORTED),
            cost_nusd=amount if amount is not None else 0,
        )
        ending = changes.get("ending", Ending.COMPLETED)
        error_code, finish_reason = _TOLD.get(ending, _FAILED)
        fields: dict[str, Any] = {
            "ending": ending,
            "error_code": error_code,
            "finish_reason": finish_reason,
            "usage": USAGE,
            "evidence": Evidence.REPORTED,
            "cost_nusd": COST,
            "output_bytes": 200,
            "received_bytes": 200,
            "attempts": (attempt,),
            "notes": {"broken_frames": 1},
        }
        closing = Closing(inference_id=inference_id, at=at, **(fields | changes))
        settlement: Settlement = self.run(close_inference, closing)
        return settlement
