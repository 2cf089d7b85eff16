"""Plays sequences against the store's operations and beside the model: after every commit the two must agree."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import apsw

from ainf.inference.errors import AinfError
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.ledger import HoldAsk, Window
from ainf.pricing import Price
from ainf.store.admin import close_account, create_account, create_key, revoke_key
from ainf.store.balances import CreditKind, NewCredit, close_balance, credit, open_balance
from ainf.store.base import AttemptPlan, AttemptResult, Closing, Extension, Opening, Progress
from ainf.store.caps import remove_cap, set_cap
from ainf.store.counting import Scope, Subject
from ainf.store.epochs import begin_epoch
from ainf.store.exchanges import extend_hold, open_inference, record_progress
from ainf.store.migrate import migrate
from ainf.store.recovery import abandon, left_open
from ainf.store.rights import KeyRights
from ainf.store.settling import close_inference
from ainf.store.sqlite import SQLiteEngine, connect
from ainf.store.verify import verify
from tests.store.money_model import EPOCH, Account, Ask, Cap, Exchange, Key, Model, Verdict, period
from tests.store.money_script import Step

# One nano-dollar a token, so that usage says what it costs.
PRICE = Price(input=1_000_000, cached_input=0, output=1_000_000, reasoning=1_000_000)
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
        holds = dict(self.engine.execute("SELECT inference_id, held_nusd FROM holds"))
        right = {each.inference_id: each.held for each in self.model.exchanges if each.state == "open"}
        if holds != right:
            raise DisagreementError(f"the holds are {holds}, not {right}")

    def check_caps(self, exchange: Exchange) -> None:
        """What was granted took none of its caps above the limit in force (L6)."""
        named = self.engine.execute("SELECT caps FROM inferences WHERE inference_id = ?", (exchange.inference_id,))
        over = self.engine.execute(
            "SELECT c.cap_id, c.limit_nusd, n.settled_nusd + n.held_nusd FROM json_each(?) AS j"
            " JOIN caps AS c ON c.cap_id = j.value ->> 0 AND c.removed_at IS NULL"
            " JOIN counters AS n ON n.cap_id = c.cap_id AND n.window_start = j.value ->> 1"
            " WHERE n.settled_nusd + n.held_nusd > c.limit_nusd",
            named[0],
        )
        if over:
            raise DisagreementError(f"a grant took caps above their limits: {over}")

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

    def open(self, key: int, model: str, lag: int, ask: Ask, estimate: int) -> None:
        owner, at = _pick(self.keys, key), self.now - lag
        if owner is None:
            return
        exchange = Exchange(self.new_id("inf"), owner, model, at, estimate, self.model.applying(owner, model, at))
        verdict = self.model.opening(owner, model, at, ask)
        opened = self.run(open_inference, _opening_of(exchange, ask))
        if isinstance(opened, AinfError):
            self._check_refusal(opened, verdict)
        else:
            by = opened.clamped_by and opened.clamped_by.cap_id
            found = ("granted", opened.held_nusd, opened.clamp_tokens)
            right = (verdict.word, verdict.amount, verdict.clamp)
            self._agree(found == right and _is_named(by, verdict), verdict, opened)
            self.model.opened(exchange, opened.held_nusd)
            self.seen["opened" if opened.clamp_tokens is None else "opened with a clamp"] += 1
            self.seen["opened under caps"] += bool(exchange.under)
            self.check_caps(exchange)
        self.check()

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

    def extend(self, exchange: int, want: int, least: int, progress: int | None) -> None:
        running = self._running(exchange)
        if running is None:
            return
        verdict = self.model.extending(running, self.now, want, least)
        step = None if progress is None else _progress_of(running, progress)
        extended = self.run(extend_hold, Extension(running.inference_id, self.now, want, least, step))
        found = "invalid" if extended.key_revoked else "granted"
        by = extended.refused_by and extended.refused_by.cap_id
        agree = (found, extended.granted_nusd) == (verdict.word, verdict.amount)
        running.held += verdict.amount
        agree = agree and _is_named(by, verdict)
        self._agree(agree, verdict, extended)
        kind = "refused" if not verdict.amount else "granted" if verdict.amount == want else "granted in part"
        self.seen[f"extension {kind}"] += running.state == "open"
        if verdict.amount:
            running.progress = running.progress if progress is None else progress
            self.check_caps(running)
        self.check()

    def progress(self, exchange: int, cost: int) -> None:
        running = _pick([each for each in self.model.exchanges if each.state == "open"], exchange)
        steps = [] if running is None else [_progress_of(running, cost)]
        seen = self.run(record_progress, steps, self.now)
        if running is not None:
            running.progress = cost
        ended = {
            each.inference_id
            for each in self.model.exchanges
            if each.state == "open" and not each.key.is_valid(self.now)
        }
        self._agree(seen.revoked == ended, ended, seen)

    def close(self, exchange: int, cost: int | None) -> None:
        """Close what runs, or what is closed already: then nothing changes."""
        self._close(self._running(exchange), cost)

    def _running(self, number: int) -> Exchange | None:
        """Pick an exchange that runs; now and then one that had an end."""
        states = {"open", "closed"} if number % 10 == 0 else {"open"}
        return _pick([each for each in self.model.exchanges if each.state in states], number)

    def close_late(self, exchange: int, cost: int | None) -> None:
        """Close what recovery closed before."""
        self._close(_pick([each for each in self.model.exchanges if each.state == "abandoned"], exchange), cost)

    def _close(self, exchange: Exchange | None, cost: int | None) -> None:
        if exchange is None:
            return
        was_open, held, charged = exchange.state == "open", exchange.held, exchange.charged
        settlement = self.run(close_inference, _closing_of(exchange, self.now, cost))
        self.model.close(exchange, cost)
        if was_open:
            found = settlement.settled_nusd + settlement.overrun_nusd, settlement.held_nusd
            self._agree(found == (exchange.charged, held), exchange, settlement)
            self._agree(settlement.settled_nusd == min(exchange.charged, held), exchange, settlement)
            self.seen["settled" if exchange.charged <= held else "settled with overrun"] += 1
        elif exchange.charged != charged:
            self.seen["adjusted"] += 1
        self.check()

    def recover(self, first: int) -> None:
        """Die, and recover in the next life: some of it in one that dies too, the rest in the one after."""
        for most in (first, None):
            self.tx = begin_epoch(self.engine, "gateway", self.now)
            for inference_id in self.run(left_open)[:most]:
                exchange = next(each for each in self.model.exchanges if each.inference_id == inference_id)
                self.run(abandon, inference_id, self.now)
                cost = exchange.estimate if exchange.progress is None else exchange.progress
                self.model.close(exchange, cost, abandoned=True)
                self.seen["recovered"] += 1
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
            self.seen["caps set over what runs"] += any(cap in each.under for each in self.model.exchanges)
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


def _opening_of(exchange: Exchange, ask: Ask) -> Opening:
    return Opening(
        inference_id=exchange.inference_id,
        at=exchange.opened_at,
        key_id=exchange.key.key_id,
        protocol="chat_completions",
        path="/v1/chat/completions",
        stream=True,
        requested_model=exchange.model,
        attempt=AttemptPlan(exchange.model, exchange.model, "openai", PRICE),
        ask=HoldAsk(ask.base, ask.rate, ask.first, ask.worst, ask.least),
        input_bytes=exchange.estimate * 4,
        input_tokens_estimate=exchange.estimate,
        fingerprint=exchange.inference_id.encode(),
        sdk_retry_count=None,
    )


def _progress_of(exchange: Exchange, cost: int) -> Progress:
    return Progress(exchange.inference_id, Usage(output_tokens=cost), cost, cost * 4)


def _closing_of(exchange: Exchange, at: int, cost: int | None) -> Closing:
    """Close as completed at a cost that was reported, or as failed at one that nobody knows."""
    known = cost is not None
    usage = Usage(output_tokens=cost or 0)
    evidence = Evidence.REPORTED if known else Evidence.NONE
    attempt = AttemptResult(
        model=exchange.model,
        upstream_model=exchange.model,
        provider="openai",
        price_version=PRICE.version,
        started_at=exchange.opened_at,
        ended_at=at,
        status=200,
        error_code=None if known else "upstream_error",
        provider_request_id=None,
        response_id=None,
        raw_usage=None,
        raw_finish_reason="stop" if known else None,
        usage=usage,
        evidence=evidence,
        cost_nusd=cost or 0,
    )
    return Closing(
        inference_id=exchange.inference_id,
        at=at,
        ending=Ending.COMPLETED if known else Ending.UPSTREAM_ERROR,
        error_code=None if known else "upstream_error",
        finish_reason="stop" if known else "error",
        usage=usage,
        evidence=evidence,
        cost_nusd=cost,
        output_bytes=(cost or 0) * 4,
        received_bytes=(cost or 0) * 4,
        attempts=(attempt,),
    )
