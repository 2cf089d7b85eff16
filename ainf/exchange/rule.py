"""The settlement rule: from what is known of an attempt at its end to what it has used and costs. Pure; one place.

A provider that ended by its own word is settled at its reported usage, if that can be true; everything else at our
count of what it sent, once it had taken the request on with a 200 head; before that at zero, unless we broke it off and
the provider, which has the whole request, goes on. An answer that is cut for money costs no more than its hold, unless
the provider goes on and bills: then what it bills is settled, and what was not held is overrun.
``ainf.exchange.situations`` works the rule out for every ending; docs/settlement.md shows it.
"""

import attrs

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.pricing import Price, cost

NOTHING = Usage()

OURS = frozenset({
    Ending.CLIENT_DISCONNECTED, Ending.DEADLINE_EXCEEDED, Ending.INTERNAL_ERROR, Ending.SHUTDOWN,
    Ending.SPEND_CAP_EXCEEDED, Ending.TERMINATED,
})  # fmt: skip
"""Endings of ours, at which a provider may still be writing."""

_GOES_ON = frozenset({"drain", "held"})
_READ_ON = frozenset({Ending.CLIENT_DISCONNECTED, Ending.DEADLINE_EXCEEDED, Ending.SPEND_CAP_EXCEEDED})
_READ_ON_CODES = frozenset({"key_revoked", "killed"})


def reads_on(ending: Ending, code: str | None) -> bool:
    """Whether an answer that this ending breaks off is read on, where its provider bills it to its end.

    Not where the process or its store is going, nor after a bug of ours: there is no time for it, or no footing.
    """
    return ending in _READ_ON or (ending is Ending.TERMINATED and code in _READ_ON_CODES)


@attrs.frozen(kw_only=True)
class Known:
    """What is known of one attempt at its end."""

    ending: Ending
    aborted_billing: str | None
    """How it is reckoned because we broke it off: "delivered", "drain" (it was read on), "held"; None: it ended."""
    has_head: bool
    """Whether the provider took the request on, with a 200 head."""
    may_answer: bool
    """Whether it has the whole request and has said nothing yet."""
    has_end: bool
    """Whether the provider's evidence of an end came."""
    reported: Usage | None
    """The provider's last usage that can be true."""
    is_output_counted: bool
    """Whether the output in it is the provider's last word, and no placeholder."""
    is_usage_rejected: bool
    """Whether it told usage that cannot be true."""
    input_tokens: int
    """Our estimate."""
    output_tokens: int
    """Our count of everything that came."""
    paid_tokens: int
    """Our count of as much of that as the hold pays for."""
    held_tokens: int
    """All output that the hold pays for; 0 where output is free."""
    held_nusd: int
    price: Price


@attrs.frozen
class Reckoning:
    """What an attempt has used, how well that is founded, and what it costs."""

    usage: Usage
    evidence: Evidence
    cost_nusd: int
    usage_rejected: bool = False
    """The provider reported usage that cannot be true."""


def reckon(known: Known) -> Reckoning:
    """Return what an attempt has used and costs."""
    if not known.has_head and not (known.may_answer and known.aborted_billing in _GOES_ON):
        return Reckoning(NOTHING, Evidence.METERED, 0)
    reported = known.reported
    if reported is not None and known.has_end and known.is_output_counted and not known.is_usage_rejected:
        return Reckoning(reported, Evidence.REPORTED, cost(known.price, reported))
    is_cut = known.ending is Ending.SPEND_CAP_EXCEEDED and known.aborted_billing != "drain"
    # Cut for money: what came beyond the hold was not handed over, and is not charged.
    output_tokens = known.paid_tokens if is_cut else known.output_tokens
    if known.aborted_billing == "held":
        output_tokens = max(output_tokens, known.held_tokens)
    if reported is None:
        usage = Usage(input_tokens=known.input_tokens, output_tokens=output_tokens)
    elif known.is_output_counted and not known.is_usage_rejected and reported.output_tokens > output_tokens:
        usage = reported  # its count so far is ahead of ours: it also counts what nobody sees
    else:
        usage = attrs.evolve(reported, output_tokens=output_tokens, reasoning_tokens=0, audio_output_tokens=0)
    amount = cost(known.price, usage)
    return Reckoning(
        usage, Evidence.METERED, min(amount, known.held_nusd) if is_cut else amount, known.is_usage_rejected
    )
