"""Plays sequences against the store's operations and beside the model: after every commit the two must agree."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import apsw

from ainf.inference.errors import AinfError
from ainf.ledger import Window
from ainf.store.admin import close_account, create_account, create_key, revoke_key
from ainf.store.balances import CreditKind, NewCredit, close_balance, credit, open_balance
from ainf.store.base import AttemptOpened, Extension
from ainf.store.caps import remove_cap, set_cap
from ainf.store.counting import Scope, Subject
from ainf.store.epochs import begin_epoch
from ainf.store.exchanges import extend_hold, open_attempt, open_inference, record_progress
from ainf.store.migrate import migrate
from ainf.store.recovery import abandon, fence_dead
from ainf.store.rights import KeyRights
from ainf.store.routing import note_unrouted
from ainf.store.settling import close_inference
from ainf.store.sqlite import SQLiteEngine, connect
from ainf.store.verify import verify
from tests.store.money_model import EPOCH, Account, Ask, Attempt, Cap, Exchange, Key, Model, Verdict, period
from tests.store.money_records import (
    attempt_opening_of,
    closing_of,
    estimate_of,
    opening_of,
    outcome_of,
    progress_of,
    unrouted_of,
)
from tests.store.money_script import Step

DEEPEST = 4


class DisagreementError(AssertionError):
    """The store did not do what the model says."""


class Player:
    """Plays steps on an empty store in memory; after each commit the store and the model must agree."""

    template: bytes = b""
    """An empty database: made once, since its schema takes longer than a sequence."""

    def __init__(self) -> None:
        if not Player.template:
            made = apsw.Connection(":memory:")
            migrate(made)
            Player.template = made.serialize("main")
        self.connection = connect(":memory:")
        self.connection.deserialize("main", self.template)
        self.engine = SQLiteEngine(self.connection)
        self.model = Model()
        self.accounts: list[Account] = []
        self.keys: list[Key] = []
        self.now = 0
        self.tx = begin_epoch(self.engine, "gateway", self.now)
        self.ids = 0
        self.seen: Counter[str] = Counter()
        """How often each kind of thing came about."""

    def play(self, steps: Sequence[Step]) -> None:
        """Play steps, and look at the whole ledger at the end."""
        try:
            for step in steps:
                self.now += 1  # no two things happen in one microsecond
                getattr(self, step.name)(**step.arguments)
            findings = verify(self.tx)
            if findings:
                raise DisagreementError(f"verify found {findings[:3]}")
        finally:
            self.connection.close()

    def begin(self, at: int) -> None:
        self.now = at

    def new_id(self, kind: str) -> str:
        self.ids += 1
        return f"{kind}{self.ids:05d}"

    def run(self, operation: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Commit an operation; return what it returns, or the error with which it refused."""
        self.engine.begin()
        changes = self.engine.changes()
        try:
            result = operation(self.tx, *args, **named)
        except AinfError as refusal:
            if self.engine.changes() != changes:
                raise DisagreementError(f"{refusal} was refused after something was written") from refusal
            result = refusal
        finally:
            self.engine.commit()
        return result

    def check(self) -> None:
        """Every counter in every window, and every hold, is what the model says."""
        totals = {}
        windows = {cap.cap_id: cap.window for cap in self.model.caps}
        for cap_id, start, charged, held in self.engine.execute(
            "SELECT cap_id, window_start, settled_nusd, held_nusd FROM counters"
        ):
            window = windows[cap_id]
            if window != "lifetime" and period(window, start) == period(window, start - 1):
                raise DisagreementError(f"{start} is not where a {window} begins")
            if charged or held:
                totals[cap_id, period(window, start)] = charged, held
        if totals != self.model.totals():
            raise DisagreementError(f"the counters are {totals}, not {self.model.totals()}")
        self._compare(
            "holds",
            "SELECT inference_id, held_nusd FROM holds",
            {each.inference_id: each.held for each in self._open()},
        )
        self._compare(
            "outcomes",
            "SELECT inference_id, status FROM routing_outcomes WHERE inference_id IS NOT NULL",
            {each.inference_id: each.outcome for each in self.model.exchanges if each.outcome is not None},
        )

    def _compare(self, what: str, sql: str, right: dict[str, Any]) -> None:
        found = dict(self.engine.execute(sql))
        if found != right:
            raise DisagreementError(f"the {what} are {found}, not {right}")

    def _open(self) -> list[Exchange]:
        return [each for each in self.model.exchanges if each.state == "open"]

    def check_caps(self, exchange: Exchange, attempt: Attempt) -> None:
        """An attempt lists its caps, and what was granted took none of them above the limit in force (L6)."""
        number = exchange.attempts.index(attempt) + 1
        ((listed,),) = self.engine.execute(
            "SELECT caps FROM opened_attempts WHERE inference_id = ? AND number = ?", (exchange.inference_id, number)
        )
        over = self.engine.execute(
            "SELECT c.cap_id, c.limit_nusd, n.settled_nusd + n.held_nusd FROM json_each(?) AS j"
            " JOIN caps AS c ON c.cap_id = j.value ->> 0 AND c.removed_at IS NULL"
            " JOIN counters AS n ON n.cap_id = c.cap_id AND n.window_start = j.value ->> 1"
            " WHERE n.settled_nusd + n.held_nusd > c.limit_nusd",
            (listed,),
        )
        if over:
            raise DisagreementError(f"a grant took caps above their limits: {over}")
        if sorted(cap_id for cap_id, _ in json.loads(listed)) != sorted(cap.cap_id for cap in attempt.under):
            raise DisagreementError(f"it lists {listed}, not {attempt.under}")

    def pass_time(self, us: int, border: str | None) -> None:
        at = self.now if border is None else _next(border, self.now)
        self.now = max(self.now, at + us)

    def make_account(self, parent: int) -> None:
        above = _pick([None, *(each for each in self.accounts if len(each.path()) < DEEPEST)], parent)
        account = Account(self.new_id("acct"), above)
        named = {"name": account.account_id, "parent": above and above.account_id}
        made = self.run(create_account, account_id=account.account_id, at=self.now, **named)
        if not isinstance(made, AinfError):
            self.accounts.append(account)

    def make_key(self, account: int, lives: int | None) -> None:
        owner = _pick(self.accounts, account)
        if owner is None or any(each.closed_at is not None for each in owner.path()):
            return
        key = Key(self.new_id("keyid"), owner, None if lives is None else self.now + lives)
        rights = KeyRights(expires_at=key.expires_at)
        named = {"key_id": key.key_id, "digest": key.key_id.encode(), "account": owner.account_id}
        self.run(create_key, **named, rights=rights, at=self.now)
        self.keys.append(key)

    def open(self, key: int, routed: bool, model: str, lag: int, ask: Ask, tokens: int) -> None:
        owner, at = _pick(self.keys, key), self.now - lag
        if owner is None:
            return
        first = Attempt(model, at, estimate_of(model, tokens), self.model.applying(owner, model, at))
        exchange = Exchange(self.new_id("inf"), owner, at, routed, [first])
        verdict = self.model.opening(owner, model, at, ask)
        opened = self.run(open_inference, opening_of(exchange, ask, tokens))
        if isinstance(opened, AinfError):
            self._check_refusal(opened, verdict)
        else:
            by = opened.clamped_by and opened.clamped_by.cap_id
            found = ("granted", opened.held_nusd, opened.clamp_tokens)
            right = (verdict.word, verdict.amount, verdict.clamp)
            self._agree(found == right and _is_named(by, verdict), verdict, opened)
            self._agree(opened.is_captured == routed, routed, opened)
            first.held = opened.held_nusd
            self.model.exchanges.append(exchange)
            self.seen["opened" if opened.clamp_tokens is None else "opened with a clamp"] += 1
            self.seen["opened under caps"] += bool(first.under)
            self.check_caps(exchange, first)
        self.check()

    def open_later(self, exchange: int, ends: list[int | None], model: str, ask: Ask, tokens: int) -> None:
        """Try another model, after those that run ended, or beside them."""
        running = self._running(exchange, routed=True)
        if running is None:
            return
        live = [running.attempts.index(attempt) + 1 for attempt in running.live]
        ended = {number: cost for number, cost in zip(live, ends, strict=False) if cost is not None}
        verdict, under = self.model.opening_later(running, model, self.now, ask, ended)
        attempt = Attempt(model, self.now, estimate_of(model, tokens), under, verdict.amount)
        opened = self.run(open_attempt, attempt_opening_of(running, attempt, ask, tokens, ended))
        if self._is_closed(opened, verdict):
            return
        if verdict.word != "granted":
            self._check_attempt_refusal(opened, verdict)
        else:
            by = opened.clamped_by and opened.clamped_by.cap_id
            agree = (opened.held_nusd, opened.clamp_tokens) == (verdict.amount, verdict.clamp)
            self._agree(agree and _is_named(by, verdict), verdict, opened)
            self._count_later(running, under, ended, len(live))
            self.model.opened_later(running, attempt, ended)
            self.check_caps(running, attempt)
        self.check()

    def _is_closed(self, found: object, verdict: Verdict) -> bool:
        """Whether an exchange is not open any more, and was refused for that."""
        refused = isinstance(found, AinfError) and found.code == "store_unavailable"
        self._agree(refused == (verdict.word == "closed"), verdict, found)
        self.seen["refused: closed"] += refused
        return refused

    def _check_attempt_refusal(self, opened: AttemptOpened, verdict: Verdict) -> None:
        by = opened.refused_by and opened.refused_by.cap_id
        found = opened.held_nusd, opened.key_revoked
        self._agree(found == (None, verdict.word == "invalid") and _is_named(by, verdict), verdict, opened)
        self.seen["later attempts refused"] += verdict.word == "refused"

    def _count_later(self, running: Exchange, under: list[Cap], ended: dict[int, int], live: int) -> None:
        self.seen["later attempts"] += 1
        self.seen["hedges"] += len(ended) < live
        self.seen["later attempts under other caps"] += set(under) != set(running.attempts[0].under)
        for number, cost in ended.items():
            held = running.attempts[number - 1].held
            self.seen["holds shrunk to nothing"] += held > cost == 0
            self.seen["holds shrunk"] += held > cost > 0
            self.seen["holds grown"] += cost > held

    def _check_refusal(self, refused: AinfError, verdict: Verdict) -> None:
        if verdict.word == "invalid":
            self._agree(refused.code == "invalid_api_key", verdict, refused)
            self.seen["refused: key not valid"] += 1
            return
        self._agree(verdict.word == "refused" and self._is_described(refused, verdict), verdict, refused)
        kind = refused.details["cap"]["kind"]
        self._agree(
            refused.code == {"cap": "spend_cap_exceeded", "balance": "insufficient_funds"}[kind], verdict, refused
        )
        self.seen[f"refused by a {kind}"] += 1

    def _is_described(self, refused: AinfError, verdict: Verdict) -> bool:
        """Whether the refusal describes one of the caps that leave least."""
        told = refused.details.get("cap")
        return told is not None and any(
            (cap.kind, cap.window, cap.pattern) == (told["kind"], told["window"], told["model"])
            and told["of"].endswith(_id_of(cap.subject))
            for cap in self.model.caps
            if cap.cap_id in verdict.by
        )

    def extend(self, exchange: int, want: int, least: int, attempt: int, progress: int | None) -> None:
        running = self._running(exchange)
        if running is None:
            return
        one = _pick(running.live, attempt)
        verdict = self.model.extending(running, one, self.now, want, least)
        step = None if progress is None else progress_of(running, one, progress)
        number = running.attempts.index(one) + 1
        extended = self.run(extend_hold, Extension(running.inference_id, self.now, want, least, step, number))
        if self._is_closed(extended, verdict):
            return
        found = "invalid" if extended.key_revoked else "granted"
        by = extended.refused_by and extended.refused_by.cap_id
        agree = (found, extended.granted_nusd) == (verdict.word, verdict.amount)
        self._agree(agree and _is_named(by, verdict), verdict, extended)
        kind = "refused" if not verdict.amount else "granted" if verdict.amount == want else "granted in part"
        self.seen[f"extension {kind}"] += running.state == "open"
        if verdict.amount:
            one.held += verdict.amount
            running.progress = running.progress if progress is None else (one, progress)
            self.check_caps(running, one)
        self.check()

    def progress(self, exchange: int, attempt: int, cost: int) -> None:
        running = _pick(self._open(), exchange)
        one = None if running is None else _pick(running.live, attempt)
        steps = [] if running is None else [progress_of(running, one, cost)]
        seen = self.run(record_progress, steps, self.now)
        if running is not None:
            running.progress = one, cost
        ended = {each.inference_id for each in self._open() if not each.key.is_valid(self.now)}
        self._agree(seen.revoked == ended, ended, seen)

    def close(self, exchange: int, **how: Any) -> None:
        """Close what runs, or what is closed already: then nothing changes."""
        self._close(self._running(exchange), **how)

    def _running(self, number: int, *, routed: bool = False) -> Exchange | None:
        """Pick an exchange that runs; now and then one that had an end."""
        states = {"open", "closed"} if number % 10 == 0 else {"open"}
        found = [each for each in self.model.exchanges if each.state in states and each.is_routed >= routed]
        return _pick(found, number)

    def close_late(self, exchange: int, **how: Any) -> None:
        """Close what recovery closed before."""
        self._close(_pick([each for each in self.model.exchanges if each.state == "abandoned"], exchange), **how)

    def _close(
        self, exchange: Exchange | None, *, ending: str, served: int, cost: int | None, others: int, more: int,
        forgets: bool,
    ) -> None:  # fmt: skip
        if exchange is None:
            return
        answers = _pick(exchange.live, served)
        costs: list[int | None] = [None] * len(exchange.attempts)
        if cost is not None:
            costs = [
                cost if attempt is answers else others if attempt.ended is None else attempt.ended + more
                for attempt in exchange.attempts
            ]
        number, told = exchange.attempts.index(answers) + 1, len(costs)
        if forgets and number < told:
            told -= 1
            costs[-1] = None if cost is None else 0
        outcome = outcome_of(ending, number)
        was_open, held, charged = exchange.state == "open", exchange.held, exchange.charged
        settlement = self.run(close_inference, closing_of(exchange, self.now, ending, costs, number, told=told))
        settled = sum(
            each.held if cost is None else min(each.held, cost)
            for each, cost in zip(exchange.attempts, costs, strict=True)
        )
        self.model.close(exchange, costs, outcome)
        if was_open:
            found = settlement.settled_nusd + settlement.overrun_nusd, settlement.held_nusd, settlement.settled_nusd
            self._agree(found == (exchange.charged, held, settled), exchange, settlement)
            self.seen["settled" if exchange.charged == settled else "settled with overrun"] += 1
            self.seen["settled with several attempts"] += len(costs) > 1
            self.seen["fell back"] += exchange.outcome == "fell_back"
        elif exchange.charged != charged:
            self.seen["adjusted"] += 1
        self._agree(settlement.is_captured == exchange.is_routed, exchange, settlement)
        self.check()

    def reject(self, key: int, status: str) -> None:
        """Take a request for a target that is not admitted."""
        owner = _pick(self.keys, key)
        if owner is not None:
            self.run(note_unrouted, unrouted_of(owner, self.now, status))
            self.seen["rejected"] += 1
            self.check()

    def recover(self, first: int) -> None:
        """Die, and recover in the next life: some of it in one that dies too, the rest in the one after."""
        for most in (first, None):
            self.tx = begin_epoch(self.engine, "gateway", self.now)
            for inference_id in self.run(fence_dead, self.now)[:most]:
                exchange = next(each for each in self.model.exchanges if each.inference_id == inference_id)
                self.run(abandon, inference_id, self.now)
                self.model.abandon(exchange)
                self.seen["recovered"] += 1
                self.seen["recovered with several attempts"] += len(exchange.attempts) > 1
                self.check()

    def set_cap(self, on: str, subject: int, window: str, pattern: str, limit: int) -> None:
        whose: Account | Key | None = _pick(self.accounts, subject) if on == "account" else _pick(self.keys, subject)
        if whose is None:
            return
        scope = Scope(Subject(on, _id_of(whose)), Window(window), pattern)
        cap_id = self.new_id("cap")
        found = self.run(set_cap, cap_id=cap_id, scope=scope, limit_nusd=limit, at=self.now)
        known = self.model.in_force(kind="cap", subject=whose, window=window, pattern=pattern)
        if known:
            known[0].limit = limit
        else:
            cap = Cap(cap_id, "cap", whose, window, pattern, limit, self.now)
            self.model.set_cap(cap)
            self.seen["caps set over what runs"] += any(
                cap in attempt.under for each in self.model.exchanges for attempt in each.attempts
            )
            self.seen["caps set over a past"] += cap.past > 0
        self._agree(found == (known[0].cap_id if known else cap_id), known, found)
        self.check()

    def change_cap(self, cap: int, limit: int) -> None:
        known = _pick(self.model.in_force(kind="cap"), cap)
        if known is not None:
            found = self.run(set_cap, cap_id="unused", scope=_scope_of(known), limit_nusd=limit, at=self.now)
            known.limit = limit
            self._agree(found == known.cap_id, known, found)
            self.check()

    def remove_cap(self, cap: int) -> None:
        known = _pick(self.model.in_force(kind="cap"), cap)
        if known is not None:
            self.run(remove_cap, scope=_scope_of(known), at=self.now)
            known.removed = True
            self.check()

    def open_balance(self, account: int, amount: int | None) -> None:
        owner = _pick(self.accounts, account)
        if owner is None or self.model.in_force(kind="balance", subject=owner):
            return
        cap = Cap(self.new_id("bal"), "balance", owner, "lifetime", "*", amount or 0, self.now)
        first = None if amount is None else NewCredit(self.new_id("cr"), CreditKind.TOP_UP, amount)
        self.run(open_balance, cap_id=cap.cap_id, account=owner.account_id, at=self.now, first=first)
        self.model.caps.append(cap)
        self.check()

    def put(self, balance: int, amount: int) -> None:
        known = _pick(self.model.in_force(kind="balance"), balance)
        if known is not None:
            kind = CreditKind.TOP_UP if amount > 0 else CreditKind.ADJUSTMENT
            new = NewCredit(self.new_id("cr"), kind, amount)
            known.limit += amount
            found = self.run(credit, account=_id_of(known.subject), new=new, at=self.now)
            self._agree(found.paid_in_nusd == known.limit, known, found)
            self.check()

    def close_balance(self, balance: int) -> None:
        known = _pick(self.model.in_force(kind="balance"), balance)
        if known is not None:
            self.run(close_balance, account=_id_of(known.subject), at=self.now)
            known.removed = True
            self.check()

    def revoke(self, key: int) -> None:
        known = _pick([each for each in self.keys if each.revoked_at is None], key)
        if known is not None:
            self.run(revoke_key, key_id=known.key_id, at=self.now)
            known.revoked_at = self.now

    def close_account(self, account: int) -> None:
        known = _pick([each for each in self.accounts if each.closed_at is None], account)
        if known is not None:
            self.run(close_account, name=known.account_id, at=self.now)
            known.closed_at = self.now

    def _agree(self, agree: bool, right: object, found: object) -> None:
        if not agree:
            raise DisagreementError(f"the model says {right}, the store {found!r}")


def _pick(found: Sequence[Any], number: int) -> Any:
    return found[number % len(found)] if found else None


def _is_named(cap_id: str | None, verdict: Verdict) -> bool:
    return cap_id in verdict.by if verdict.by else cap_id is None


def _id_of(subject: Account | Key) -> str:
    return subject.key_id if isinstance(subject, Key) else subject.account_id


def _scope_of(cap: Cap) -> Scope:
    kind = "key" if isinstance(cap.subject, Key) else "account"
    return Scope(Subject(kind, _id_of(cap.subject)), Window(cap.window), cap.pattern)


def _next(border: str, at: int) -> int:
    """Return when the next hour, day, week or month begins."""
    moment = EPOCH + timedelta(microseconds=at)
    step = timedelta(hours=1) if border == "hour" else timedelta(days=1)
    moment = moment.replace(hour=moment.hour if border == "hour" else 0, minute=0, second=0, microsecond=0)
    here = period(border, at)
    while period(border, _microseconds(moment)) == here:
        moment += step
    return _microseconds(moment)


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)
