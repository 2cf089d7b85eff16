"""Records as an exchange would write them, and the accounts, keys and caps that they need."""

import hashlib
from collections.abc import Callable
from typing import Any

import attrs

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.ledger import HoldAsk
from ainf.pricing import Price, cost
from ainf.store.admin import create_account, create_key
from ainf.store.base import AttemptOpening, AttemptPlan, AttemptResult, Closing, EndedAttempt, Opening, RoutingRecord
from ainf.store.caps import set_cap, subject_of
from ainf.store.counting import Scope
from ainf.store.rights import KeyRights
from ainf.store.transaction import Transaction

START = 1_700_000_000_000_000
# One nano-dollar a token, so that amounts in tests are easy to follow.
PRICE = Price(input=1_000_000, cached_input=0, output=1_000_000, reasoning=1_000_000)
USAGE = Usage(
    input_tokens=10, cached_input_tokens=2, output_tokens=20, reasoning_tokens=3, cache_write_tokens=4,
    long_cache_write_tokens=1,
)  # fmt: skip
COST = cost(PRICE, USAGE)
KEY = "key00001"
DIGEST = b"d" * 32
ASK = HoldAsk(base_nusd=10, output_rate=1_000_000, first_tokens=40, worst_tokens=40, min_tokens=5)

# Two nano-dollars a token, at another provider.
DEARER = Price(input=2_000_000, cached_input=0, output=2_000_000, reasoning=2_000_000)
LATER_ASK = HoldAsk(base_nusd=20, output_rate=2_000_000, first_tokens=30, worst_tokens=30, min_tokens=5)
_RULES = '{"target":"ainf-inference"}'
ROUTING = RoutingRecord(
    target="ainf-inference",
    ruleset=hashlib.sha256(_RULES.encode()).hexdigest(),
    ruleset_body=_RULES,
    decision='{"ranked":["gpt","claude"]}',
    prices=(PRICE, DEARER),
)


def seed(tx: Transaction, *, account_cap: int | None = None, key_cap: int | None = None) -> None:
    """Make organisation "org" with team "team", one key of the team, and the caps asked for (an operation)."""
    create_account(tx, account_id="acct-org", name="org", parent=None, at=START)
    create_account(tx, account_id="acct-team", name="team", parent="org", at=START)
    create_key(tx, key_id=KEY, digest=DIGEST, account="team", rights=KeyRights(), at=START)
    if account_cap is not None:
        set_cap(tx, cap_id="cap-org", scope=Scope(subject_of(tx, account="org")), limit_nusd=account_cap, at=START)
    if key_cap is not None:
        set_cap(tx, cap_id="cap-key", scope=Scope(subject_of(tx, key_id=KEY)), limit_nusd=key_cap, at=START)


def seeded(**caps: int) -> Callable[[Transaction], None]:
    """Return ``seed`` with these caps."""
    return lambda tx: seed(tx, **caps)


def limited(**limits: int) -> Callable[[Transaction], None]:
    """Return an operation that sets caps on "org", each for the models that its id names; "all" is for all."""

    def operation(tx: Transaction) -> None:
        for cap_id, limit in limits.items():
            scope = Scope(subject_of(tx, account="org"), model="*" if cap_id == "all" else cap_id)
            set_cap(tx, cap_id=cap_id, scope=scope, limit_nusd=limit, at=START)

    return operation


def opening(number: int = 1, **changes: Any) -> Opening:
    """Return the opening of exchange ``number``; it holds 50 where nothing limits it."""
    return attrs.evolve(
        Opening(
            inference_id=f"inf-{number:06d}",
            at=START + number,
            key_id=KEY,
            protocol="chat_completions",
            path="/v1/chat/completions",
            stream=True,
            requested_model="gpt",
            attempt=AttemptPlan("gpt", "gpt-2026", "openai", PRICE),
            ask=ASK,
            input_bytes=44,
            input_tokens_estimate=11,
            fingerprint=b"f" * 16,
            sdk_retry_count=None,
            labels={"run": "seven"},
        ),
        **changes,
    )


def later(number: int = 2, *ended: tuple[int, int], of: int = 1, **changes: Any) -> AttemptOpening:
    """Return the opening of another attempt of exchange ``of``; it holds 80 where nothing limits it, and 30 at least.

    Of those that ended the numbers and costs are given.
    """
    return attrs.evolve(
        AttemptOpening(
            inference_id=f"inf-{of:06d}",
            at=START + of + 10 * number,
            number=number,
            attempt=AttemptPlan("claude", "claude-2026", "anthropic", DEARER),
            ask=LATER_ASK,
            input_tokens_estimate=12,
            ended=tuple(EndedAttempt(*one) for one in ended),
        ),
        **changes,
    )


def closing(number: int = 1, **changes: Any) -> Closing:
    """Return the closing of exchange ``number``, completed at ``COST``."""
    attempt = AttemptResult(
        model="gpt",
        upstream_model="gpt-2026",
        provider="openai",
        price_version=PRICE.version,
        started_at=START + number,
        ended_at=START + number + 90,
        status=200,
        error_code=None,
        provider_request_id="req-1",
        response_id="chatcmpl-1",
        raw_usage='{"prompt_tokens":10}',
        raw_finish_reason="stop",
        usage=USAGE,
        evidence=Evidence.REPORTED,
        cost_nusd=COST,
    )
    return attrs.evolve(
        Closing(
            inference_id=f"inf-{number:06d}",
            at=START + number + 100,
            ending=Ending.COMPLETED,
            error_code=None,
            finish_reason="stop",
            usage=USAGE,
            evidence=Evidence.REPORTED,
            cost_nusd=COST,
            output_bytes=80,
            received_bytes=90,
            attempts=(attempt,),
        ),
        **changes,
    )


def closing_of(*charges: int, **changes: Any) -> Closing:
    """Return the closing of exchange 1 with as many attempts, the first at "gpt" and those after it at "claude"."""
    (first,) = closing().attempts
    at_later = {
        "model": "claude",
        "upstream_model": "claude-2026",
        "provider": "anthropic",
        "price_version": DEARER.version,
    }
    lines = tuple(
        attrs.evolve(first, cost_nusd=charge, **(at_later if number else {})) for number, charge in enumerate(charges)
    )
    return attrs.evolve(closing(cost_nusd=sum(charges), charges=charges, attempts=lines), **changes)


def counter(tx: Transaction, cap_id: str) -> tuple[int, int]:
    """Return what a cap's counter says: (settled, held)."""
    rows = tx.execute("SELECT settled_nusd, held_nusd FROM counters WHERE cap_id = ?", (cap_id,))
    return rows[0] if rows else (0, 0)


def entries(tx: Transaction, number: int = 1) -> list[tuple[str, int]]:
    """Return the ledger's entries of exchange ``number``: (kind, amount)."""
    return tx.execute(
        "SELECT kind, amount_nusd FROM entries WHERE inference_id = ? ORDER BY seq", (f"inf-{number:06d}",)
    )


def postings(tx: Transaction, number: int = 1) -> list[tuple[int, str, str, int]]:
    """Return the ledger's entries of exchange ``number``: (attempt, provider, kind, amount)."""
    return tx.execute(
        "SELECT attempt, provider, kind, amount_nusd FROM entries WHERE inference_id = ? ORDER BY seq",
        (f"inf-{number:06d}",),
    )


def events(tx: Transaction, kind: str) -> list[str]:
    """Return the bodies of all audit events of a kind."""
    rows = tx.execute("SELECT body FROM audit_events WHERE kind = ? ORDER BY epoch, seq", (kind,))
    return [row[0] for row in rows]


def strand(tx: Transaction) -> None:
    """Make all open exchanges those of a process that is gone (an operation)."""
    dead = tx.one("INSERT INTO instances (kind, started_at) VALUES ('gateway', ?) RETURNING epoch", (START,))
    assert dead is not None
    tx.execute("UPDATE holds SET epoch = ?", dead)
