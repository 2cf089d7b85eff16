"""Idempotency keys: all requests that bear the same one get the answer of one exchange, which is billed once.

A key is known by who sent it, on which path. The first request with it makes a shared exchange; every client, the first
too, is told what that says. When it has ended, the store knows what becomes of the key: its answer is kept and told
again, or it is free again.

Strategy: the exchange is shared before anything is awaited, so that no two of one process can be opened under one key;
whether another process has it, or it was answered before, is found out by the opening itself, which the store refuses
then. Only after that is the store asked what it knows. So a new key costs no look at the store.
"""

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import attrs
import trio

from ainf.exchange.answers import Reply
from ainf.exchange.plan import Plan, Services
from ainf.exchange.retelling import Retelling, completed
from ainf.exchange.route import refused
from ainf.exchange.run import Exchange
from ainf.exchange.shared import SharedExchange
from ainf.http.recital import Recital
from ainf.http.seam import Seam
from ainf.inference.errors import AinfError, DownstreamError, GatewayError
from ainf.store.base import Claim, FoundClaim
from ainf.store.claims import in_progress
from ainf.store.store import Store
from ainf.telemetry import Telemetry

_ATTEMPTS: Final = 5
"""How often a key may turn out to be free, and in use again, while one request asks for it."""
_REPLAY: Final = (b"x-ainf-idempotent-replay", b"true")
_FORGET_S: Final = 60.0
_FORGET_AT_ONCE: Final = 10
"""Answers in one transaction: an exchange's own must not wait long behind it, however large they are."""
_NO_ROOM: Final = frozenset({"rate_limited", "overloaded"})
"""Why an exchange may not begin now, though its key may have an answer."""

_Name: TypeAlias = tuple[str, str, str]
"""What a shared exchange is known by: key id, path, idempotency key."""


class Host(Protocol):
    """What shared exchanges need of the gateway."""

    services: Services

    def begin(self, exchange: Exchange) -> None:
        """Count an exchange in; raises ``DownstreamError`` where it may not run."""
        ...

    def end(self, exchange: Exchange) -> None:
        """Count it out."""
        ...


class SharedExchanges:
    """The shared exchanges that run in this process; there are no more of them than exchanges.

    Args:
        limit: the most bytes of an answer that are kept.
        linger_s: how long an exchange goes on while nobody is told its answer.
    """

    def __init__(self, *, limit: int, linger_s: float) -> None:
        self._limit = limit
        self._linger_s = linger_s
        self._running: dict[_Name, SharedExchange] = {}
        self._nursery: trio.Nursery | None = None
        self._telling = 0
        self._silence = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        """How many run."""
        return len(self._running)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be the home of the shared exchanges until cancelled; then they end as ``shutdown``, settled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    async def wait_told(self) -> None:
        """Wait until nobody is being told anything."""
        while self._telling:
            await self._silence.park()

    async def answer(self, seam: Seam, plan: Plan, claim: Claim, host: Host) -> None:
        """Answer a request with an idempotency key: by an exchange of its own, by one that runs, or by what is kept.

        Cancelled, it closes the client's connection; an exchange that runs goes on.

        Raises:
            AinfError: the opening was refused; or ``idempotency_mismatch``, ``idempotency_in_progress``,
                ``idempotency_completed``. Nothing was said.
        """
        self._telling += 1
        try:
            for _ in range(_ATTEMPTS):
                if await self._try(seam, plan, claim, host):
                    return
        finally:
            self._telling -= 1
            self._silence.unpark_all()
        raise in_progress()

    async def _try(self, seam: Seam, plan: Plan, claim: Claim, host: Host) -> bool:
        """Answer; return whether it is done: not where what had the key is gone meanwhile."""
        name = (plan.key.key_id, plan.request.path, claim.idempotency_key)
        shared = self._running.get(name)
        if shared is None:
            made = await self._begin(seam, plan, claim, host)
            if made is None:
                return True
            shared = made
        elif shared.is_left:
            await shared.gone.wait()
            return False
        elif shared.exchange.plan.fingerprint != claim.fingerprint:
            raise _mismatch()
        elif not shared.transcript.is_whole:
            raise in_progress()
        else:
            host.services.telemetry.replayed("attached")
        try:
            await _tell(seam, plan, shared, host.services)
        except DownstreamError as error:
            if error.code != "idempotency_in_progress":
                raise
        else:
            return True
        return await _tell_kept(seam, plan, claim, host.services)

    async def _begin(self, seam: Seam, plan: Plan, claim: Claim, host: Host) -> SharedExchange | None:
        """Return an exchange that was made for a request; None where it got none, and was told what is kept instead.

        Raises:
            AinfError: it gets none, and nothing is kept; or as ``_tell_kept``. Nothing was said.
        """
        made = self._share((plan.key.key_id, plan.request.path, claim.idempotency_key), plan, host)
        if isinstance(made, SharedExchange):
            return made
        # There is no room for an exchange, or nobody to be asked; what is kept needs neither.
        if (made is None or made.code in _NO_ROOM) and await _tell_kept(seam, plan, claim, host.services):
            return None
        raise made or await _refusal(plan, host.services)

    def _share(self, name: _Name, plan: Plan, host: Host) -> SharedExchange | AinfError | None:
        """Make a shared exchange and let it run, or return why it may not. No await: whoever asks next finds it.

        None where its plan says that it may not.
        """
        if not plan.may_open:
            return None
        if self._nursery is None:  # the process ends
            return GatewayError("shutting_down", "The gateway is shutting down; ask again.", retry_after_s=1)
        shared = SharedExchange(plan, host.services, limit=self._limit, linger_s=self._linger_s)
        try:
            host.begin(shared.exchange)
        except AinfError as refusal:
            return refusal.with_traceback(None)  # which holds everything that it passed
        self._running[name] = shared
        self._nursery.start_soon(self._run, name, shared, host)
        return shared

    async def _run(self, name: _Name, shared: SharedExchange, host: Host) -> None:
        try:
            await shared.run()
        finally:
            del self._running[name]
            host.end(shared.exchange)
            shared.gone.set()


async def forget_expired(store: Store, telemetry: Telemetry, now: Callable[[], int]) -> None:
    """Forget idempotency keys and their answers when they have expired, now and every minute, a few at a time.

    Runs until cancelled. What the store refuses is done a minute later.
    """
    while True:
        forgotten = 0
        with telemetry.tried("forgetting"):
            forgotten = await store.forget_claims(now(), _FORGET_AT_ONCE)
        await trio.sleep(0 if forgotten == _FORGET_AT_ONCE else _FORGET_S)


async def _tell(seam: Seam, plan: Plan, shared: SharedExchange, services: Services) -> None:
    """Tell a client the answer of a shared exchange, unless it leaves.

    Raises:
        AinfError: the opening was refused, or it cannot be told in the client's mode; nothing was said.
    """
    recital, left, is_over = Recital(seam, plan, shared, services), trio.CancelScope(), False
    seam.attach(left.cancel)
    try:
        with left:
            await recital.tell()
            is_over = True
    except AinfError:
        seam.detach()
        is_over = True
        raise
    finally:
        recital.close()
        if not is_over:
            seam.abort()
    seam.release()


async def _tell_kept(seam: Seam, plan: Plan, claim: Claim, services: Services) -> bool:
    """Tell a client what the store keeps under its key; return whether there was anything: not where the key is free.

    Raises:
        AinfError: the key's exchange runs elsewhere, or cannot be told, or was of another body; nothing was said.
    """
    found = await services.store.find_claim(plan.key.key_id, plan.request.path, claim.idempotency_key)
    if found is None or found.state == "freed":
        return False
    reply = _kept_reply(plan, claim, found, services)
    services.telemetry.replayed("replayed")
    try:
        await seam.reply(reply)
    except BaseException:
        seam.abort()  # it may have begun
        raise
    return True


async def _refusal(plan: Plan, services: Services) -> AinfError:
    """Return why nobody may be asked; it is on record then."""
    assert plan.route is not None, "who names a model may ask it"
    return await refused(services, plan.key, plan.request, plan.route)


def _kept_reply(plan: Plan, claim: Claim, found: FoundClaim, services: Services) -> Reply:
    """Return the answer that is kept under a key, in the mode that is asked for.

    Raises:
        DownstreamError: there is none to be told.
    """
    if found.fingerprint != claim.fingerprint:
        raise _mismatch()
    if found.state == "running":
        raise in_progress()
    answer, outcome = found.answer, found.outcome
    if answer is None:
        raise completed(found.inference_id, services.public_url)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    if answer.status != 200 or answer.stream == plan.request.stream:
        reply = Reply(answer.status, headers, answer.body)
    elif outcome is None:
        raise completed(found.inference_id, services.public_url)  # how it ended stands in its body alone
    else:
        retelling = Retelling(plan, services, found.inference_id, headers)
        retelling.receive(answer.body)
        reply = retelling.reply(outcome)
    return attrs.evolve(reply, headers=[*reply.headers, _REPLAY])


def _mismatch() -> DownstreamError:
    return DownstreamError(
        "idempotency_mismatch",
        "This `Idempotency-Key` was used with another body; use a new one.",
        param="idempotency-key",
    )
