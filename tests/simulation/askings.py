"""Who may spend, and how much; who comes, and what they ask."""

import random
from collections.abc import Mapping
from typing import Any, Final

import attrs

from ainf.config import Config
from ainf.ledger import Window
from ainf.store import admin, balances, caps
from ainf.store.balances import CreditKind, NewCredit
from ainf.store.base import KeyLimits
from ainf.store.counting import Scope
from ainf.store.transaction import Transaction
from tests.gateway.dialects import CHAT, DIALECTS
from tests.simulation.clients import Asking, Manner, Visit, encoded
from tests.simulation.settings import EMBEDDER, PINNED, TEXTS

TARGETS: Final = ("ainf-inference", "ainf/auto", "crew", "crew-now")
ROOT, TEAM = "org", "team"
AGENTS: Final = ("agent-0", "agent-1")
_ROOMS: Final = (10_000, 40_000, 90_000, 250_000, 1_000_000, 10**9)
"""What a limit leaves at first: from nothing to everything."""
_HINTS: Final = (
    {"min_quality": "good"}, {"min_quality": "frontier"}, {"max_cost": "0.0001"}, {"max_cost": "0.0000001"},
    {"routing_preference": "cost", "task_type": "code"}, {"routing_preference": "quickest"}, {"min_quality": 7},
)  # fmt: skip
_IDEMPOTENT: Final = ("idem-0", "idem-1")
_GARBAGE: Final = (b"", b"{", b"[]", b'{"model": 5}', b"\xff", b'{"model": "chat-text", "n": 1e999}')


@attrs.frozen
class Limit:
    """A cap, or the balance of an account."""

    name: str
    account: str | None
    key_id: str | None
    window: Window
    model: str
    limit_nusd: int
    is_balance: bool = False

    def put(self, tx: Transaction, at: int) -> None:
        """Put it in force (an operation)."""
        if self.is_balance:
            assert self.account is not None
            first = NewCredit(f"cr_{self.name}", CreditKind.TOP_UP, self.limit_nusd)
            balances.open_balance(tx, cap_id=f"cap_{self.name}", account=self.account, at=at, first=first)
        else:
            caps.set_cap(tx, cap_id=f"cap_{self.name}", scope=self.scope(tx), limit_nusd=self.limit_nusd, at=at)

    def scope(self, tx: Transaction) -> Scope:
        subject = caps.subject_of(tx, key_id=self.key_id) if self.key_id else caps.subject_of(tx, account=self.account)
        return Scope(subject, self.window, self.model)


@attrs.frozen
class Accounts:
    """Who may spend."""

    keys: Mapping[str, tuple[str, admin.KeyRights]]
    """Account and rights, by key id."""
    limits: tuple[Limit, ...]

    def plant(self, tx: Transaction, at: int) -> dict[str, str]:
        """Make them; return the keys by their ids (an operation)."""
        parents = {ROOT: None, TEAM: ROOT, **dict.fromkeys(AGENTS, TEAM)}
        for name, parent in parents.items():
            admin.create_account(tx, account_id=f"acc_{name}", name=name, parent=parent, at=at)
        texts = {}
        for key_id, (account, rights) in self.keys.items():
            texts[key_id] = admin.key_text(key_id, key_id.encode() * 4)
            digest = admin.digest_of(texts[key_id])
            admin.create_key(tx, key_id=key_id, digest=digest, account=account, rights=rights, at=at)
        for limit in self.limits:
            limit.put(tx, at)
        return texts


def draw_accounts(chance: random.Random) -> Accounts:
    """Draw keys and limits."""
    keys = {
        f"key0000{number}": (chance.choice(AGENTS), _rights(chance)) for number in range(chance.choice((1, 1, 2, 3)))
    }
    count = chance.choice((0, 0, 1, 1, 2, 4))
    return Accounts(keys, tuple(draw_limit(chance, str(number), sorted(keys)) for number in range(count)))


def draw_limit(chance: random.Random, name: str, key_ids: list[str]) -> Limit:
    """Draw a cap or a balance."""
    room = chance.choice(_ROOMS)
    if name == "0" and chance.random() < 0.3:
        return Limit(name, chance.choice((TEAM, *AGENTS)), None, Window.LIFETIME, "*", room, is_balance=True)
    key_id = chance.choice(key_ids) if chance.random() < 0.3 else None
    account = None if key_id else chance.choice((ROOT, TEAM, *AGENTS))
    window = chance.choice((Window.LIFETIME, Window.HOUR, Window.DAY, Window.MONTH))
    return Limit(name, account, key_id, window, chance.choice(("*", "*", "chat-*", "*-text")), room)


def _rights(chance: random.Random) -> admin.KeyRights:
    limits = KeyLimits()
    if chance.random() < 0.1:
        limits = KeyLimits(concurrent_streams=1)
    elif chance.random() < 0.1:
        limits = KeyLimits(requests_per_minute=3, tokens_per_minute=chance.choice((None, 40)))
    return admin.KeyRights(
        finish_reasons=chance.choice(("extended", "extended", "strict", "loud")),
        money_refusal=chance.choice(("402", "429")),
        models=("chat-*", "ainf-*") if chance.random() < 0.05 else None,
        limits=limits,
        inject_cost=chance.random() < 0.2,
    )


def draw_visits(chance: random.Random, accounts: Accounts, config: Config) -> tuple[Visit, ...]:
    """Draw the clients; most seeds are small."""
    count = chance.choice((3, 3, 4, 4, 5, 6, 8, 12))
    spread_s = chance.choice((0.0, 0.5, 3.0, 15.0))
    is_idempotent = chance.random() < 0.4
    return tuple(_visit(chance, number, accounts, spread_s, is_idempotent) for number in range(count))


def _visit(chance: random.Random, number: int, accounts: Accounts, spread_s: float, is_idempotent: bool) -> Visit:
    askings = tuple(_asking(chance, is_idempotent) for _ in range(chance.choice((1, 1, 1, 2))))
    key_id = chance.choice(sorted(accounts.keys))
    return Visit(number, chance.uniform(0, spread_s), key_id, askings, chance.getrandbits(32))


def _asking(chance: random.Random, is_idempotent: bool) -> Asking:
    headers, manner = _headers(chance), _manner(chance)
    drawn = chance.random()
    if drawn < 0.03:
        path = chance.choice(("/v1/models", "/v1/usage", "/readyz", "/v1/audit/inf_none"))
        return Asking(path, b"", headers, method="GET", retries=0)
    if drawn < 0.05:
        return Asking(CHAT.path, chance.choice(_GARBAGE), headers, manner)
    if drawn < 0.10:
        body = {"model": chance.choice((*TEXTS, "ainf-inference")), "messages": [{"role": "user", "content": "Hi."}]}
        return Asking("/v1/messages/count_tokens", encoded(body), headers, manner)
    if drawn < 0.13:
        return Asking("/v1/embeddings", encoded({"model": EMBEDDER, "input": "one two"}), headers, manner)
    if is_idempotent and chance.random() < 0.6:
        name = chance.choice(_IDEMPOTENT)
        path, body = _question(random.Random(name))
        body["stream"] = chance.random() < 0.7
        if chance.random() < 0.06:
            body["temperature"] = 0.5  # who bears a key asks the same, but for some
        headers = (*headers, ("idempotency-key", name))
    else:
        path, body = _question(chance)
    return Asking(path, encoded(body), headers, manner, looks_after=chance.random() < 0.3)


def _question(chance: random.Random) -> tuple[str, dict[str, Any]]:
    dialect = chance.choice(DIALECTS)
    model = chance.choice((*TEXTS, *PINNED, *PINNED[:2]))
    fields: dict[str, Any] = {}
    if chance.random() < 0.45:
        model = chance.choice(TARGETS)
        if chance.random() < 0.2:
            fields["routing_hint"] = chance.choice(_HINTS)
    if chance.random() < 0.15:
        fields["tools"] = [dialect.tool]
    limit = chance.choice((None, None, 8, 60, 3000))
    body = dialect.question(model, stream=chance.random() < 0.7, limit=limit, **fields)
    path = dialect.path
    if dialect is CHAT and chance.random() < 0.3:
        path = "/v1/inference"
    return path, body


def _headers(chance: random.Random) -> tuple[tuple[str, str], ...]:
    headers = [("x-ainf-labels", f"run={chance.randrange(3)}")] if chance.random() < 0.3 else []
    if chance.random() < 0.12:
        headers.append(("x-ainf-deadline-ms", chance.choice(("1", "50", "400", "2000"))))
    return tuple(headers)


def _manner(chance: random.Random) -> Manner:
    drawn = chance.random()
    if drawn < 0.66:
        return Manner(pace_s=chance.choice((0.0, 0.0, 0.0, 0.05)))
    if drawn < 0.78:
        return Manner(leaves_at_write=chance.choice((1, 1, 2, 3, 5, 9)))
    if drawn < 0.90:
        return Manner(leaves_after_s=chance.choice((0.0, 0.01, 0.1, 0.5, 3.0)))
    return Manner(stalls_at_write=chance.choice((1, 2, 4)), stalls_s=chance.choice((0.5, 3.0, 60.0)))
