"""What an exchange hands to its client, from the commit point to the provider's end: in order, money before bytes."""

import contextlib
from typing import TYPE_CHECKING

import trio

from ainf.exchange.answers import stream_head
from ainf.exchange.attempt import Attempt
from ainf.exchange.hold import KeyRevokedError, OutOfBoundsError
from ainf.formats.base import Reading
from ainf.inference.errors import AinfError
from ainf.inference.outcome import Ending, Verdict
from ainf.ledger import CapState

if TYPE_CHECKING:
    from ainf.exchange.run import Exchange


def out_of_money(cap: CapState | None) -> Verdict:
    """Return the verdict of an exchange whose money is used up, and by which cap or balance, where that is known."""
    message = "A cap on this key or account is used up." if cap is None else cap.used_up()
    return Verdict(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", message)


async def relay(exchange: "Exchange", attempt: Attempt, reading: Reading) -> None:
    """Hand over what arrives, one read at a time, until the body or the provider's own word ends it.

    Args:
        exchange: whose.
        attempt: the one that answers.
        reading: what it passed the commit point with.
    """
    hold = attempt.hold
    while True:
        exchange.notice(attempt)
        if exchange.provider_ended or attempt.body_ended:
            await _deliver_last(exchange, attempt, reading)
            await _read_tail(exchange, attempt)
            return
        if reading.data or reading.is_content:
            await _deliver(exchange, attempt, reading)
        if exchange.arbiter.verdict is not None:
            return  # nothing more is handed over: what still comes is for whoever reads on
        if hold.received >= hold.wants_more_at:
            exchange.nursery.start_soon(exchange.extend_ahead)
        reading = await attempt.read()
        if reading.is_meaningful:
            exchange.watcher.touch(attempt)


async def _read_tail(exchange: "Exchange", attempt: Attempt) -> None:
    """Read on behind the evidence of an end, for usage and the end of the body, but not for long."""
    if attempt.pipe.answer.error is not None:
        return
    with trio.move_on_after(exchange.services.clocks.tail_s):
        while not attempt.body_ended:
            await attempt.read()


async def _deliver_last(exchange: "Exchange", attempt: Attempt, reading: Reading) -> None:
    """Hand over what came with the provider's own end; neither a cancellation nor a slow client parts the two.

    Bounded. If it takes too long, or a defect keeps it from being handed over, the connection is closed: no end must
    follow what was left out.
    """
    if not reading.data and exchange.first_byte_s is not None:
        return
    try:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + exchange.services.clocks.speak_s):
            await _deliver(exchange, attempt, reading)
    finally:
        if exchange.in_hand is not None:
            exchange.speech.abort()


async def _deliver(exchange: "Exchange", attempt: Attempt, reading: Reading) -> None:
    """Hand a reading to the client: the prelude before the first one, and money before bytes."""
    exchange.in_hand = reading
    if exchange.first_byte_s is None:
        await _commit(exchange, attempt)
    if exchange.provider_ended and exchange.hold.received > exchange.hold.covered:
        await _cover_last(exchange, exchange.hold.received)
    while exchange.hold.received > exchange.hold.covered and not exchange.provider_ended:
        within = exchange.hold.covered - exchange.hold.delivered
        piece, rest = attempt.pipe.split(reading, within)
        if piece.data:
            await hand_over(exchange, piece.data, piece.output_bytes)
        reading = exchange.in_hand = rest
        if not await exchange.hold.cover(exchange.hold.received):
            exchange.offer(out_of_money(exchange.hold.refused_by))
            return
    if reading.data:
        await hand_over(exchange, reading.data, reading.output_bytes)
    exchange.in_hand = None


async def _cover_last(exchange: "Exchange", size: int) -> None:
    """Grow the hold for output that has already ended: what it does not grow by is posted as overrun."""
    with contextlib.suppress(KeyRevokedError, OutOfBoundsError, AinfError):
        await exchange.hold.cover(size)


async def _commit(exchange: "Exchange", attempt: Attempt) -> None:
    """Pass the commit point: the head goes out, with the prelude that was kept; the request is forgotten."""
    exchange.first_byte_s = trio.current_time() - exchange.opened_at_s
    exchange.plan.request.forget()
    exchange.planned_first.forget()
    if exchange.plan.request.stream:
        await exchange.speech.start(200, stream_head(exchange.head, is_wrapped=attempt.pipe.is_wrapped))
        if prelude := b"".join(attempt.prelude):
            await exchange.speech.write(prelude)
    attempt.prelude.clear()


async def hand_over(exchange: "Exchange", data: bytes, output_bytes: int) -> None:
    """Give the client frames, with so many visible output bytes in them."""
    await exchange.speech.write(data)
    exchange.hold.delivered += output_bytes
