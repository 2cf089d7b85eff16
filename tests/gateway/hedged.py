"""Routing targets of which a second model is asked where the first is late, and what must hold of two at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from ainf.exchange.attempt import Attempt
from ainf.exchange.run import Exchange
from ainf.formats.base import Reading
from ainf.ledger import Window
from ainf.simulator.books import Entry
from ainf.store.base import AttemptOpened, AttemptOpening
from tests.gateway.candidates import Candidate, Order, check_routed, counter, entries, target_text
from tests.gateway.grammar import check_grammar
from tests.gateway.world import Client, World, world

LATE_S: Final = 2.0
"""Later than this is late, of every model."""
LIMITS: Final = "silence_s = 9\nfirst_byte_s = 9\nexchange_s = 60\nconnect_s = 5"


def know(here: World, count: int) -> None:
    """Let so many beginnings be known of every model."""
    for name, model in here.gateway.models.items():
        observed = here.gateway.services.health.observed(model.terms.provider, name)
        for _ in range(count):
            observed.note_latency(round(LATE_S * 1000))


@asynccontextmanager
async def hedged(
    tmp_path: Path,
    *candidates: Candidate | str,
    settings: str = "hedging = true",
    limits: str = LIMITS,
    known: int = 20,
) -> AsyncIterator[World]:
    """Run a gateway whose target has these models, by their behaviour, of each of which so many beginnings are known.

    ``settings`` go into [routing].
    """
    models = [Candidate(one) if isinstance(one, str) else one for one in candidates]
    text = f"[routing]\n{settings}\n{target_text(*models)}"
    async with world(tmp_path, "sim", limits=limits, after=text) as here:
        know(here, known)
        yield here


class Race:
    """Looks at how attempts are begun and closed while exchanges run in a world."""

    def __init__(self, here: World, monkeypatch: Any) -> None:
        self.order = Order(here)
        self.led: list[int] = []
        """The numbers of the attempts that passed the commit point."""
        self.held: list[int] = []
        """What was held for the exchange as each provider but the first was asked."""
        self._here = here
        self._watch_leads(monkeypatch)
        self._watch_openings()

    def _watch_leads(self, monkeypatch: Any) -> None:
        take_lead = Exchange.take_lead

        def taken(exchange: Exchange, attempt: Attempt, reading: Reading) -> None:
            both = {exchange.attempt, exchange.rival} - {attempt, None}
            take_lead(exchange, attempt, reading)
            self.led.append(attempt.number)
            for other in both:
                assert is_closed(other), "the loser's connection is closed before anything is awaited"
            assert not is_closed(attempt)

        monkeypatch.setattr(Exchange, "take_lead", taken)

    def _watch_openings(self) -> None:
        opened = self._here.store.open_attempt

        async def open_attempt(opening: AttemptOpening) -> AttemptOpened:
            answer = await opened(opening)
            rows = await self._here.rows(
                "SELECT h.held_nusd, (SELECT sum(CASE kind WHEN 'release' THEN -amount_nusd ELSE amount_nusd END)"
                " FROM entries AS e WHERE e.inference_id = h.inference_id) FROM holds AS h WHERE inference_id = ?",
                opening.inference_id,
            )
            for held, by_entries in rows:
                assert held == by_entries
                self.held.append(held)
            return answer

        self._here.store.open_attempt = open_attempt  # type: ignore[method-assign]


def is_closed(attempt: Attempt) -> bool:
    wire: Any = attempt.call._wire
    return attempt.call._aborted and (wire is None or wire.stream._closed)


async def check_hedged(
    here: World, client: Client, *, led: int, codes: tuple[str | None, ...] = (None, None), status: str | None = None
) -> dict[str, Any]:
    """The law of an exchange of two or more attempts, the ``led``-th of which answered; return its receipt."""
    status = status or ("succeeded" if led == 1 else "fell_back")
    receipt = await check_routed(here, client, status, codes, served=led)
    assert client.status == 200
    check_answer(here, client, receipt, led)
    assert receipt["overrun_nusd"] == 0
    assert receipt["settled_nusd"] <= receipt["held_nusd"]
    for entry, line in zip(entries(here, client), receipt["attempts"], strict=True):
        assert (line["cost_nusd"] > 0) is (line["status"] == 200), "input is billed once a head came"
        assert entry.ended_at is not None
    return receipt


def check_answer(here: World, client: Client, receipt: dict[str, Any], led: int) -> None:
    """The client was given the whole answer of one attempt, and nothing of any other."""
    entry, line, said = entries(here, client)[led - 1], receipt["attempts"][led - 1], client.said()
    assert len(said.text.encode()) == entry.text_bytes > 0
    assert said.error is None
    assert said.output_tokens == line["usage"]["output_tokens"] == entry.output_tokens
    if "x-ainf-model" in client.headers:  # else the head was early
        assert client.headers["x-ainf-model"] == line["model"]
    if client.is_streamed:
        check_grammar(client.dialect, client.payloads())
    for number, other in enumerate(receipt["attempts"], 1):
        if number != led and other["response_id"] is not None:
            assert other["response_id"] not in client.body.decode()


def check_cancelled(entry: Entry, at: float, *, within_s: float = 0.05) -> None:
    """The provider saw the cancel at that moment."""
    assert entry.client_closed_at is not None
    assert abs(entry.client_closed_at - at) < within_s


def hedges(here: World) -> dict[str, float]:
    """What was counted of second attempts; nothing that is 0."""
    counts = {result: counter(here, "hedges", result=result) for result in ("won", "lost", "no_room")}
    return {result: count for result, count in counts.items() if count}


async def set_room(here: World, room_nusd: int) -> None:
    """Let a cap leave so much."""
    ((used,),) = await here.rows("SELECT coalesce(sum(settled_nusd + overrun_nusd), 0) FROM settlements")
    await here.set_cap(used + room_nusd, window=Window.LIFETIME)
